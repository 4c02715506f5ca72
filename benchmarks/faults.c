/* Counts writes, fsyncs and renames below a folder, and ends the process or fails at one of them.
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

enum { COUNT, KILL, TEAR, FULL };
static char root[4096];
static volatile long done, at;
static volatile int action;

/* Count operations below `folder`; at number `when` (from 1) end the process before it (1), after half of it (2), or
 * fail it and all writes that follow, as a full disk does (3). */
void faults_arm(const char *folder, long when, int what) {
    snprintf(root, sizeof root, "%s", folder);
    done = 0;
    at = when;
    action = what;
}

long faults_count(void) { return done; }

static int below(int fd) {
    char link[64], path[4096];
    if (!root[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && !strncmp(path, root, strlen(root));
}

/* The action for the next operation; the process may end here. */
static int next(void) {
    long number = __sync_add_and_fetch(&done, 1);
    if (action == FULL && number >= at) return FULL;
    if (number != at || action == COUNT) return COUNT;
    if (action == KILL) kill(getpid(), SIGKILL);
    return action;
}

static void end(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define WRITE(half, whole) \
    int what = next(); \
    if (what == FULL) { errno = ENOSPC; return -1; } \
    if (what == TEAR) { half; end(); } \
    return whole

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (!below(fd)) return real(fd, data, size);
    WRITE(real(fd, data, size / 2), real(fd, data, size));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    if (!below(fd)) return real(fd, data, size, offset);
    WRITE(real(fd, data, size / 2, offset), real(fd, data, size, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    if (!below(fd)) return real(fd, data, size, offset);
    WRITE(real(fd, data, size / 2, offset), real(fd, data, size, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (!below(fd)) return real(fd, parts, count);
    WRITE(real(fd, parts, count / 2), real(fd, parts, count));
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(fwrite);
    if (!below(fileno(file))) return real(data, size, count, file);
    int what = next();
    if (what == FULL) { errno = ENOSPC; return 0; }
    if (what == TEAR) { real(data, size, count / 2, file); fflush(file); end(); }
    return real(data, size, count, file);
}

int fsync(int fd) {
    REAL(fsync);
    if (!below(fd)) return real(fd);
    WRITE(real(fd), real(fd));
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (!below(fd)) return real(fd);
    WRITE(real(fd), real(fd));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!root[0] || strncmp(to, root, strlen(root))) return real(from, to);
    WRITE(real(from, to), real(from, to));
}

int renameat(int from, const char *source, int to, const char *target) {
    REAL(renameat);
    if (!root[0] || strncmp(target, root, strlen(root))) return real(from, source, to, target);
    WRITE(real(from, source, to, target), real(from, source, to, target));
}
