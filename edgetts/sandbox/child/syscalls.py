"""The system calls that Python needs and the sandbox allows, by number; knows no filters.

Numbers are those of Linux's headers: asm/unistd_64.h, and asm-generic/unistd.h for aarch64.
"""

from __future__ import annotations

ALLOWED = frozenset(
    {
        "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
        "pwritev2", "close", "close_range", "lseek", "stat", "fstat", "lstat", "newfstatat", "statx",
        "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "chdir", "fchdir",
        "getdents64", "getdents", "statfs", "fstatfs", "open", "openat", "unlink", "unlinkat", "rename",
        "renameat", "renameat2", "ftruncate", "fsync", "fdatasync", "fadvise64", "flock", "dup", "dup2",
        "dup3", "pipe", "pipe2", "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1",
        "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "sendfile",
        "copy_file_range", "mmap", "munmap", "mprotect", "mremap", "madvise", "msync", "mincore", "brk",
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
        "rt_sigsuspend", "sigaltstack", "pause", "alarm", "getitimer", "setitimer", "restart_syscall",
        "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time",
        "times", "getrusage", "sysinfo", "uname", "getrlimit", "getpid", "getppid", "gettid", "getuid",
        "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgrp", "getpgid",
        "getsid", "getpriority", "getcpu", "umask", "sched_yield", "sched_getaffinity",
        "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min",
        "futex", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "membarrier",
        "arch_prctl", "exit", "exit_group", "getrandom", "wait4", "waitid", "sendto", "recvfrom",
        "sendmsg", "recvmsg", "shutdown", "getsockname", "getpeername", "getsockopt",
    }
)  # fmt: skip
REFUSED = frozenset(
    {
        "socket", "setsockopt", "connect", "bind", "listen", "accept", "accept4", "fork", "vfork",
        "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "chmod", "fchmod",
        "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
        "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr",
        "fremovexattr", "truncate", "fallocate", "mkdir", "mkdirat", "rmdir", "link", "linkat",
        "symlink", "symlinkat", "mknod", "mknodat", "chroot", "pivot_root", "mount", "umount2",
        "unshare", "setns", "setrlimit", "setuid", "setgid", "setreuid", "setregid", "setresuid",
        "setresgid", "setgroups", "setfsuid", "setfsgid", "capset", "setpriority", "setpgid", "setsid",
        "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "rt_sigqueueinfo",
        "rt_tgsigqueueinfo", "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "kcmp", "memfd_create",
        "shmget", "shmat", "shmctl", "shmdt", "semget", "msgget", "mq_open", "io_uring_setup", "bpf",
        "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "inotify_init",
        "inotify_init1", "name_to_handle_at", "open_by_handle_at", "reboot", "sethostname",
        "setdomainname", "settimeofday", "clock_settime", "adjtimex", "personality",
    }
)  # fmt: skip
_X86_64: dict[str, int] = {
    "read": 0, "write": 1, "readv": 19, "writev": 20, "pread64": 17, "pwrite64": 18, "preadv": 295,
    "pwritev": 296, "preadv2": 327, "pwritev2": 328, "close": 3, "close_range": 436, "lseek": 8, "stat":
    4, "fstat": 5, "lstat": 6, "newfstatat": 262, "statx": 332, "access": 21, "faccessat": 269,
    "faccessat2": 439, "readlink": 89, "readlinkat": 267, "getcwd": 79, "chdir": 80, "fchdir": 81,
    "getdents64": 217, "getdents": 78, "statfs": 137, "fstatfs": 138, "open": 2, "openat": 257,
    "unlink": 87, "unlinkat": 263, "rename": 82, "renameat": 264, "renameat2": 316, "ftruncate": 77,
    "fsync": 74, "fdatasync": 75, "fadvise64": 221, "flock": 73, "dup": 32, "dup2": 33, "dup3": 292,
    "pipe": 22, "pipe2": 293, "poll": 7, "ppoll": 271, "select": 23, "pselect6": 270, "epoll_create":
    213, "epoll_create1": 291, "epoll_ctl": 233, "epoll_wait": 232, "epoll_pwait": 281, "epoll_pwait2":
    441, "eventfd": 284, "eventfd2": 290, "sendfile": 40, "copy_file_range": 326, "mmap": 9, "munmap":
    11, "mprotect": 10, "mremap": 25, "madvise": 28, "msync": 26, "mincore": 27, "brk": 12,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "rt_sigpending": 127,
    "rt_sigtimedwait": 128, "rt_sigsuspend": 130, "sigaltstack": 131, "pause": 34, "alarm": 37,
    "getitimer": 36, "setitimer": 38, "restart_syscall": 219, "nanosleep": 35, "clock_nanosleep": 230,
    "clock_gettime": 228, "clock_getres": 229, "gettimeofday": 96, "time": 201, "times": 100,
    "getrusage": 98, "sysinfo": 99, "uname": 63, "getrlimit": 97, "getpid": 39, "getppid": 110,
    "gettid": 186, "getuid": 102, "geteuid": 107, "getgid": 104, "getegid": 108, "getresuid": 118,
    "getresgid": 120, "getgroups": 115, "getpgrp": 111, "getpgid": 121, "getsid": 124, "getpriority":
    140, "getcpu": 309, "umask": 95, "sched_yield": 24, "sched_getaffinity": 204, "sched_getparam": 143,
    "sched_getscheduler": 145, "sched_get_priority_max": 146, "sched_get_priority_min": 147, "futex":
    202, "set_robust_list": 273, "get_robust_list": 274, "set_tid_address": 218, "rseq": 334,
    "membarrier": 324, "arch_prctl": 158, "exit": 60, "exit_group": 231, "getrandom": 318, "wait4": 61,
    "waitid": 247, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48,
    "getsockname": 51, "getpeername": 52, "getsockopt": 55, "clone": 56, "kill": 62, "tgkill": 234,
    "tkill": 200, "fcntl": 72, "ioctl": 16, "prctl": 157, "prlimit64": 302, "socketpair": 53, "socket":
    41, "setsockopt": 54, "connect": 42, "bind": 49, "listen": 50, "accept": 43, "accept4": 288, "fork":
    57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "process_vm_readv": 310,
    "process_vm_writev": 311, "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92,
    "fchown": 93, "lchown": 94, "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261,
    "utimensat": 280, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197,
    "lremovexattr": 198, "fremovexattr": 199, "truncate": 76, "fallocate": 285, "mkdir": 83, "mkdirat":
    258, "rmdir": 84, "link": 86, "linkat": 265, "symlink": 88, "symlinkat": 266, "mknod": 133,
    "mknodat": 259, "chroot": 161, "pivot_root": 155, "mount": 165, "umount2": 166, "unshare": 272,
    "setns": 308, "setrlimit": 160, "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114,
    "setresuid": 117, "setresgid": 119, "setgroups": 116, "setfsuid": 122, "setfsgid": 123, "capset":
    126, "setpriority": 141, "setpgid": 109, "setsid": 112, "sched_setaffinity": 203,
    "sched_setscheduler": 144, "sched_setparam": 142, "sched_setattr": 314, "rt_sigqueueinfo": 129,
    "rt_tgsigqueueinfo": 297, "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "kcmp":
    312, "memfd_create": 319, "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64,
    "msgget": 68, "mq_open": 240, "io_uring_setup": 425, "bpf": 321, "perf_event_open": 298,
    "userfaultfd": 323, "keyctl": 250, "add_key": 248, "request_key": 249, "inotify_init": 253,
    "inotify_init1": 294, "name_to_handle_at": 303, "open_by_handle_at": 304, "reboot": 169,
    "sethostname": 170, "setdomainname": 171, "settimeofday": 164, "clock_settime": 227, "adjtimex":
    159, "personality": 135,
}  # fmt: skip
_AARCH64: dict[str, int] = {
    "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69,
    "pwritev": 70, "preadv2": 286, "pwritev2": 287, "close": 57, "close_range": 436, "lseek": 62,
    "fstat": 80, "newfstatat": 79, "statx": 291, "faccessat": 48, "faccessat2": 439, "readlinkat": 78,
    "getcwd": 17, "chdir": 49, "fchdir": 50, "getdents64": 61, "statfs": 43, "fstatfs": 44, "openat":
    56, "unlinkat": 35, "renameat": 38, "renameat2": 276, "ftruncate": 46, "fsync": 82, "fdatasync": 83,
    "fadvise64": 223, "flock": 32, "dup": 23, "dup3": 24, "pipe2": 59, "ppoll": 73, "pselect6": 72,
    "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "epoll_pwait2": 441, "eventfd2": 19,
    "sendfile": 71, "copy_file_range": 285, "mmap": 222, "munmap": 215, "mprotect": 226, "mremap": 216,
    "madvise": 233, "msync": 227, "mincore": 232, "brk": 214, "rt_sigaction": 134, "rt_sigprocmask":
    135, "rt_sigreturn": 139, "rt_sigpending": 136, "rt_sigtimedwait": 137, "rt_sigsuspend": 133,
    "sigaltstack": 132, "getitimer": 102, "setitimer": 103, "restart_syscall": 128, "nanosleep": 101,
    "clock_nanosleep": 115, "clock_gettime": 113, "clock_getres": 114, "gettimeofday": 169, "times":
    153, "getrusage": 165, "sysinfo": 179, "uname": 160, "getrlimit": 163, "getpid": 172, "getppid":
    173, "gettid": 178, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "getresuid": 148,
    "getresgid": 150, "getgroups": 158, "getpgid": 155, "getsid": 156, "getpriority": 141, "getcpu":
    168, "umask": 166, "sched_yield": 124, "sched_getaffinity": 123, "sched_getparam": 121,
    "sched_getscheduler": 120, "sched_get_priority_max": 125, "sched_get_priority_min": 126, "futex":
    98, "set_robust_list": 99, "get_robust_list": 100, "set_tid_address": 96, "rseq": 293, "membarrier":
    283, "exit": 93, "exit_group": 94, "getrandom": 278, "wait4": 260, "waitid": 95, "sendto": 206,
    "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "shutdown": 210, "getsockname": 204, "getpeername":
    205, "getsockopt": 209, "clone": 220, "kill": 129, "tgkill": 131, "tkill": 130, "fcntl": 25,
    "ioctl": 29, "prctl": 167, "prlimit64": 261, "socketpair": 199, "socket": 198, "setsockopt": 208,
    "connect": 203, "bind": 200, "listen": 201, "accept": 202, "accept4": 242, "execve": 221,
    "execveat": 281, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "fchmod": 52,
    "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "utimensat": 88, "setxattr": 5,
    "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
    "truncate": 45, "fallocate": 47, "mkdirat": 34, "linkat": 37, "symlinkat": 36, "mknodat": 33,
    "chroot": 51, "pivot_root": 41, "mount": 40, "umount2": 39, "unshare": 97, "setns": 268,
    "setrlimit": 164, "setuid": 146, "setgid": 144, "setreuid": 145, "setregid": 143, "setresuid": 147,
    "setresgid": 149, "setgroups": 159, "setfsuid": 151, "setfsgid": 152, "capset": 91, "setpriority":
    140, "setpgid": 154, "setsid": 157, "sched_setaffinity": 122, "sched_setscheduler": 119,
    "sched_setparam": 118, "sched_setattr": 274, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
    "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "kcmp": 272, "memfd_create": 279,
    "shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197, "semget": 190, "msgget": 186, "mq_open":
    180, "io_uring_setup": 425, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219,
    "add_key": 217, "request_key": 218, "inotify_init1": 26, "name_to_handle_at": 264,
    "open_by_handle_at": 265, "reboot": 142, "sethostname": 161, "setdomainname": 162, "settimeofday":
    170, "clock_settime": 112, "adjtimex": 171, "personality": 92,
}  # fmt: skip
NUMBERS = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""Numbers by `os.uname().machine`. A call that a machine lacks is not in its table."""
