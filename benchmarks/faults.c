/* Counts writes, fsyncs and renames below a folder, and stops the process or fails at them.
 *
 * cc -shared -fPIC -O2 -o faults.so faults.c -ldl; loaded with LD_PRELOAD, on Linux.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, STOP, FULL };
static char root[4096];
static volatile long done, written, at;
static volatile int action;

/* Count operations below `folder`. Stop the process before each of them and amid each write, until it is continued (1),
 * or fail write number `when` (from 1) and all that follows, as a full disk does (2). */
void faults_arm(const char *folder, long when, int what) {
    snprintf(root, sizeof root, "%s", folder);
    done = written = 0;
    at = when;
    action = what;
}

long faults_count(void) { return done; }
long faults_written(void) { return written; }

static int below(int fd) {
    char link[64], path[4096];
    if (!root[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && !strncmp(path, root, strlen(root));
}

/* The action for the next operation. */
static int next(int writes) {
    __sync_add_and_fetch(&done, 1);
    long number = writes ? __sync_add_and_fetch(&written, 1) : written;
    if (action == FULL && number >= at) return FULL;
    if (action == STOP) raise(SIGSTOP);
    return action == STOP ? STOP : COUNT;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define OPERATION(call) \
    if (next(0) == FULL) { errno = ENOSPC; return -1; } \
    return call
/* `part` writes the first half of `size`, after which the process stops; `rest` writes what is left. */
#define WRITE(size, part, rest, whole) \
    int what = next(1); \
    if (what == FULL) { errno = ENOSPC; return -1; } \
    if (what != STOP || (size) < 2) return whole; \
    ssize_t first = part; \
    if (first < 0) return first; \
    raise(SIGSTOP); \
    ssize_t second = rest; \
    return second < 0 ? second : first + second

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (!below(fd)) return real(fd, data, size);
    WRITE(size, real(fd, data, size / 2), real(fd, (const char *)data + first, size - first), real(fd, data, size));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    if (!below(fd)) return real(fd, data, size, offset);
    WRITE(size, real(fd, data, size / 2, offset), real(fd, (const char *)data + first, size - first, offset + first),
          real(fd, data, size, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    if (!below(fd)) return real(fd, data, size, offset);
    WRITE(size, real(fd, data, size / 2, offset), real(fd, (const char *)data + first, size - first, offset + first),
          real(fd, data, size, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (!below(fd)) return real(fd, parts, count);
    if (next(1) == FULL) { errno = ENOSPC; return -1; }
    return real(fd, parts, count);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(fwrite);
    if (!below(fileno(file))) return real(data, size, count, file);
    int what = next(1);
    if (what == FULL) { errno = ENOSPC; return 0; }
    if (what != STOP || count < 2) return real(data, size, count, file);
    size_t first = real(data, size, count / 2, file);
    fflush(file);
    raise(SIGSTOP);
    return first + real((const char *)data + size * first, size, count - first, file);
}

int fsync(int fd) {
    REAL(fsync);
    if (!below(fd)) return real(fd);
    OPERATION(real(fd));
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (!below(fd)) return real(fd);
    OPERATION(real(fd));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!root[0] || strncmp(to, root, strlen(root))) return real(from, to);
    OPERATION(real(from, to));
}

int renameat(int from, const char *source, int to, const char *target) {
    REAL(renameat);
    if (!root[0] || strncmp(target, root, strlen(root))) return real(from, source, to, target);
    OPERATION(real(from, source, to, target));
}
