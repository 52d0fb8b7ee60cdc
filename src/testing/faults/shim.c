/*
 * Makes a system call of a process fail: preloaded, it stands before the C library's own functions. For tests.
 *
 * Only calls on files beneath $VDCONV_FAULT_DIR count; all others pass. Opening the path "/vdconv-fault/OP,MODE,AT,COUNT"
 * arms it: from the AT-th call of OP on, COUNT calls (0: all) fail with errno MODE, or for MODE "short" do a part of their
 * work, for "end" read nothing. OP "none" disarms it. Opening the path fails with ENOENT either way. The same text in
 * $VDCONV_FAULT arms it from the start. Each fault that fired is a line in $VDCONV_FAULT_LOG: "OP MODE N PATH".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char armed_op[16] = "none";
static char armed_mode[16];
static long armed_at, armed_count, calls;

static const char PREFIX[] = "/vdconv-fault/";
enum { PASS = 0, SHORT = -1, END = -2 };

static void arm(const char *text)
{
    char op[16], mode[16];
    long at, count;
    if (sscanf(text, "%15[^,],%15[^,],%ld,%ld", op, mode, &at, &count) == 4) {
        pthread_mutex_lock(&lock);
        strcpy(armed_op, op);
        strcpy(armed_mode, mode);
        armed_at = at;
        armed_count = count;
        calls = 0;
        pthread_mutex_unlock(&lock);
    }
}

__attribute__((constructor)) static void from_environment(void)
{
    const char *text = getenv("VDCONV_FAULT");
    if (text != NULL)
        arm(text);
}

static long raw(long number, long a, long b, long c, long d)
{
    static long (*real)(long, ...);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a, b, c, d);
}

static void report(const char *op, long n, const char *path)
{
    const char *log = getenv("VDCONV_FAULT_LOG");
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s %ld %s\n", op, armed_mode, n, path);
    int fd = log == NULL ? -1 : (int)raw(SYS_openat, AT_FDCWD, (long)log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        raw(SYS_write, fd, (long)line, length, 0);
        raw(SYS_close, fd, 0, 0, 0);
    }
}

static int number_of(const char *mode)
{
    static const struct { const char *name; int number; } ERRNOS[] = {
        { "EACCES", EACCES }, { "EDQUOT", EDQUOT }, { "EFBIG", EFBIG }, { "EINTR", EINTR }, { "EINVAL", EINVAL },
        { "EIO", EIO }, { "EMFILE", EMFILE }, { "ENOSPC", ENOSPC }, { "EOPNOTSUPP", EOPNOTSUPP }, { "EPERM", EPERM },
        { "EROFS", EROFS }, { "EXDEV", EXDEV }, { "short", SHORT }, { "end", END },
    };
    for (size_t i = 0; i < sizeof ERRNOS / sizeof *ERRNOS; i += 1)
        if (strcmp(ERRNOS[i].name, mode) == 0)
            return ERRNOS[i].number;
    return EIO;
}

/* What this call is to do: PASS, SHORT, END, or fail with the errno. */
static int fate(const char *op, const char *path)
{
    const char *dir = getenv("VDCONV_FAULT_DIR");
    int verdict = PASS;
    if (strcmp(armed_op, op) != 0 || dir == NULL || path == NULL || strncmp(path, dir, strlen(dir)) != 0)
        return PASS;
    pthread_mutex_lock(&lock);
    long n = ++calls;
    if (n >= armed_at && (armed_count == 0 || n < armed_at + armed_count)) {
        verdict = number_of(armed_mode);
        report(op, n, path);
    }
    pthread_mutex_unlock(&lock);
    return verdict;
}

static int fate_of_fd(const char *op, int fd)
{
    char link[64], path[PATH_MAX];
    if (strcmp(armed_op, op) != 0)
        return PASS;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = raw(SYS_readlinkat, AT_FDCWD, (long)link, (long)path, sizeof path - 1);
    if (length < 0)
        return PASS;
    path[length] = 0;
    return fate(op, path);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (real == NULL) \
        real = dlsym(RTLD_NEXT, #name)
#define FAIL_IF(verdict) \
    do { \
        int v = (verdict); \
        if (v > 0) { \
            errno = v; \
            return -1; \
        } \
    } while (0)
#define CUT(verdict, count) ((verdict) == SHORT && (count) > 1 ? ((count) + 1) / 2 : (count))

#define TRANSFER(op, name, parameters, call_with) \
    ssize_t name parameters \
    { \
        REAL(name); \
        int verdict = fate_of_fd(op, fd); \
        FAIL_IF(verdict); \
        if (verdict == END) \
            return 0; \
        size_t n = CUT(verdict, count); \
        return real call_with; \
    }
TRANSFER("read", read, (int fd, void *buf, size_t count), (fd, buf, n))
TRANSFER("read", pread, (int fd, void *buf, size_t count, off_t at), (fd, buf, n, at))
TRANSFER("read", pread64, (int fd, void *buf, size_t count, off64_t at), (fd, buf, n, at))
TRANSFER("write", write, (int fd, const void *buf, size_t count), (fd, buf, n))
TRANSFER("write", pwrite, (int fd, const void *buf, size_t count, off_t at), (fd, buf, n, at))
TRANSFER("write", pwrite64, (int fd, const void *buf, size_t count, off64_t at), (fd, buf, n, at))

/* Of several buffers only the first is used: that is short enough. */
#define VECTOR(op, name, parameters, call_with) \
    ssize_t name parameters \
    { \
        REAL(name); \
        int verdict = fate_of_fd(op, fd); \
        FAIL_IF(verdict); \
        if (verdict == END) \
            return 0; \
        int n = CUT(verdict, count); \
        return real call_with; \
    }
VECTOR("read", readv, (int fd, const struct iovec *v, int count), (fd, v, n))
VECTOR("read", preadv, (int fd, const struct iovec *v, int count, off_t at), (fd, v, n, at))
VECTOR("read", preadv64, (int fd, const struct iovec *v, int count, off64_t at), (fd, v, n, at))
VECTOR("write", writev, (int fd, const struct iovec *v, int count), (fd, v, n))
VECTOR("write", pwritev, (int fd, const struct iovec *v, int count, off_t at), (fd, v, n, at))
VECTOR("write", pwritev64, (int fd, const struct iovec *v, int count, off64_t at), (fd, v, n, at))

#define ON_FD(op, name, parameters, call_with) \
    int name parameters \
    { \
        REAL(name); \
        FAIL_IF(fate_of_fd(op, fd)); \
        return real call_with; \
    }
ON_FD("fsync", fsync, (int fd), (fd))
ON_FD("fsync", fdatasync, (int fd), (fd))
ON_FD("ftruncate", ftruncate, (int fd, off_t size), (fd, size))
ON_FD("ftruncate", ftruncate64, (int fd, off64_t size), (fd, size))
ON_FD("fallocate", fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
ON_FD("fallocate", fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size))

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags)
{
    REAL(copy_file_range);
    int verdict = fate_of_fd("copy_file_range", to);
    FAIL_IF(verdict);
    return real(from, from_at, to, to_at, CUT(verdict, count), flags);
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    FAIL_IF(fate("rename", from));
    return real(from, to);
}

int link(const char *from, const char *to)
{
    REAL(link);
    FAIL_IF(fate("link", from));
    return real(from, to);
}

static int commanded(const char *path)
{
    if (strncmp(path, PREFIX, sizeof PREFIX - 1) != 0)
        return 0;
    arm(path + sizeof PREFIX - 1);
    errno = ENOENT;
    return 1;
}

#define OPEN(name, parameters, call_with) \
    int name parameters \
    { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (commanded(path)) \
            return -1; \
        FAIL_IF(fate("open", path)); \
        return real call_with; \
    }
OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

/* openat2 has no function of its own; its path is relative to a directory, which is what counts. */
long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i += 1)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_openat2)
        FAIL_IF(fate_of_fd("open", (int)a[0]));
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
