/* Preloaded into a child process: fails, or records, what it does to the files below one folder.

   REQUANT_SHIM_ROOT names the folder. Nothing happens until the child calls, by ctypes,
   shim_arm(n, error, for_ever, kinds): the n-th operation of those kinds fails with that errno, and
   with for_ever all that follow; n = 0 counts only. shim_disarm() returns how many there were.
   shim_record(path) writes every change to a log there, which tests/faults/disk.py reads, until
   shim_stop(); shim_mark(n) notes in it that the child acknowledged something. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, RENAME = 16, TRUNCATE = 32, UNLINK = 64, MKDIR = 128 };
enum { CREATED = 1, WRITTEN, CUT, SYNCED, RENAMED, UNLINKED, MADE, LINKED, MARKED, REMOVED };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count, target;
static int armed, failing, for_ever_, wanted, log_fd = -1;
static __thread int inside;  /* what we ourselves call is passed on */

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

void shim_arm(long n, int error, int for_ever, int kinds) {
    count = 0, target = n, failing = error, for_ever_ = for_ever, wanted = kinds, armed = 1;
}
long shim_disarm(void) { armed = 0; return count; }
int shim_fired(void) { return target && count >= target; }

static int below(const char *path) {
    static const char *root; static size_t length;
    if (!root) { root = getenv("REQUANT_SHIM_ROOT"); length = root ? strlen(root) : 0; }
    return length && path && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    path[n > 0 ? n : 0] = 0;
    return n > 0;
}
static const char *full(int dir, const char *path, char *out) {
    if (!path || path[0] == '/') return path;
    if (dir == AT_FDCWD) { if (!getcwd(out, 4095)) return path; } else if (!path_of(dir, out)) return path;
    size_t n = strlen(out);
    snprintf(out + n, 4095 - n, "/%s", path);
    return out;
}
static int ours(int fd) {
    char path[4096];
    if (inside || (!armed && log_fd < 0)) return 0;
    int saved = errno, found = path_of(fd, path) && below(path);
    errno = saved;
    return found;
}
/* Whether this operation is to fail; errno says how. */
static int fails(int kind, int is_ours) {
    if (!armed || !is_ours || inside || !(kind & wanted)) return 0;
    long n = __sync_add_and_fetch(&count, 1);
    if (!target || n < target || (n > target && !for_ever_)) return 0;
    errno = failing;
    return 1;
}

/* The log: kind, inode, offset, length, two paths, data. */
static void put(const void *data, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    const char *at = data;
    while (n) { ssize_t done = real(log_fd, at, n); if (done <= 0) abort(); at += done, n -= done; }
}
static void note(uint64_t kind, uint64_t inode, uint64_t offset, const void *data, uint64_t length,
                 const char *one, const char *two) {
    uint64_t head[6] = {kind, inode, offset, data ? length : 0, one ? strlen(one) : 0, two ? strlen(two) : 0};
    put(head, sizeof head);
    if (one) put(one, head[4]);
    if (two) put(two, head[5]);
    if (data) put(data, length);
}
static uint64_t inode_of(int fd) { struct stat s; return fstat(fd, &s) ? 0 : s.st_ino; }
static int begin(int is_ours) {
    if (log_fd < 0 || inside || !is_ours) return 0;
    pthread_mutex_lock(&lock);
    inside = 1;
    return 1;
}
static void end(int recording) { if (recording) { int saved = errno; inside = 0; pthread_mutex_unlock(&lock); errno = saved; } }
void shim_record(const char *path) {
    REAL(int, "open64", const char *, int, ...);
    log_fd = real(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}
void shim_stop(void) { close(log_fd); log_fd = -1; }
void shim_mark(long n) { if (begin(1)) { note(MARKED, n, 0, NULL, 0, NULL, NULL); end(1); } }
static void whole(int fd) { /* what stdio wrote, which cannot be seen one by one */
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) return;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    REAL(int, "open64", const char *, int, ...);
    int again = real(link, O_RDONLY);
    char *data = malloc(s.st_size + 1);
    ssize_t n = again < 0 ? 0 : pread(again, data, s.st_size, 0);
    if (again >= 0) close(again);
    note(WRITTEN, s.st_ino, 0, data, n > 0 ? n : 0, NULL, NULL);
    free(data);
}

/* Opening */
static int opened(const char *name, int at, int dir, const char *path, int flags, mode_t mode) {
    static int (*real_open)(const char *, int, ...), (*real_at)(int, const char *, int, ...);
    if (!real_open) real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    if (!real_at) real_at = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");
    (void)name;
    char buffer[4096];
    const char *where = full(dir, path, buffer);
    if (fails(OPEN, below(where))) return -1;
    int recording = begin(below(where)), known = recording && !access(where, F_OK);
    int fd = at ? real_at(dir, path, flags, mode) : real_open(path, flags, mode);
    if (recording && fd >= 0) {
        if (!known && (flags & O_CREAT)) note(CREATED, inode_of(fd), 0, NULL, 0, where, NULL);
        else if (flags & O_TRUNC) note(CUT, inode_of(fd), 0, NULL, 0, where, NULL);
    }
    end(recording);
    return fd;
}
#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
int open(const char *p, int flags, ...) { MODE return opened("open", 0, AT_FDCWD, p, flags, mode); }
int open64(const char *p, int flags, ...) { MODE return opened("open64", 0, AT_FDCWD, p, flags, mode); }
int openat(int d, const char *p, int flags, ...) { MODE return opened("openat", 1, d, p, flags, mode); }
int openat64(int d, const char *p, int flags, ...) { MODE return opened("openat64", 1, d, p, flags, mode); }
int __open_2(const char *p, int flags) { return opened("open", 0, AT_FDCWD, p, flags, 0); }
int __open64_2(const char *p, int flags) { return opened("open64", 0, AT_FDCWD, p, flags, 0); }
int creat(const char *p, mode_t mode) { return opened("open", 0, AT_FDCWD, p, O_CREAT | O_WRONLY | O_TRUNC, mode); }
static FILE *fopened(const char *name, const char *path, const char *mode) {
    FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, name);
    if (fails(OPEN, below(path))) return NULL;
    int recording = begin(below(path)), known = recording && !access(path, F_OK);
    FILE *file = real(path, mode);
    if (recording && file && mode[0] == 'w')
        note(known ? CUT : CREATED, inode_of(fileno(file)), 0, NULL, 0, path, NULL);
    end(recording);
    return file;
}
FILE *fopen(const char *path, const char *mode) { return fopened("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return fopened("fopen64", path, mode); }

/* Reading */
ssize_t read(int fd, void *b, size_t n) { REAL(ssize_t, "read", int, void *, size_t); return fails(READ, ours(fd)) ? -1 : real(fd, b, n); }
ssize_t pread(int fd, void *b, size_t n, off_t o) { REAL(ssize_t, "pread", int, void *, size_t, off_t); return fails(READ, ours(fd)) ? -1 : real(fd, b, n, o); }
ssize_t pread64(int fd, void *b, size_t n, off64_t o) { REAL(ssize_t, "pread64", int, void *, size_t, off64_t); return fails(READ, ours(fd)) ? -1 : real(fd, b, n, o); }
ssize_t readv(int fd, const struct iovec *v, int n) { REAL(ssize_t, "readv", int, const struct iovec *, int); return fails(READ, ours(fd)) ? -1 : real(fd, v, n); }
size_t fread(void *b, size_t size, size_t n, FILE *f) { REAL(size_t, "fread", void *, size_t, size_t, FILE *); return fails(READ, ours(fileno(f))) ? 0 : real(b, size, n, f); }

/* Writing */
static ssize_t wrote(int fd, const void *b, ssize_t done, off_t at) {
    if (done > 0) note(WRITTEN, inode_of(fd), at, b, done, NULL, NULL);
    return done;
}
static off_t position(int fd) { return fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR); }
ssize_t write(int fd, const void *b, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int is_ours = ours(fd);
    if (fails(WRITE, is_ours)) return -1;
    int recording = begin(is_ours);
    off_t at = recording ? position(fd) : 0;
    ssize_t done = real(fd, b, n);
    if (recording) wrote(fd, b, done, at);
    end(recording);
    return done;
}
#define PWRITE(name, type) ssize_t name(int fd, const void *b, size_t n, type o) { \
    REAL(ssize_t, #name, int, const void *, size_t, type); \
    int is_ours = ours(fd); \
    if (fails(WRITE, is_ours)) return -1; \
    int recording = begin(is_ours); \
    ssize_t done = real(fd, b, n, o); \
    if (recording) wrote(fd, b, done, o); \
    end(recording); \
    return done; }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
ssize_t writev(int fd, const struct iovec *v, int n) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    int is_ours = ours(fd);
    if (fails(WRITE, is_ours)) return -1;
    int recording = begin(is_ours);
    off_t at = recording ? position(fd) : 0;
    ssize_t done = real(fd, v, n), left = done;
    for (int i = 0; recording && i < n && left > 0; i++) {
        ssize_t part = left < (ssize_t)v[i].iov_len ? left : (ssize_t)v[i].iov_len;
        wrote(fd, v[i].iov_base, part, at), at += part, left -= part;
    }
    end(recording);
    return done;
}
size_t fwrite(const void *b, size_t size, size_t n, FILE *f) { REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *); return fails(WRITE, ours(fileno(f))) ? 0 : real(b, size, n, f); }
int fflush(FILE *f) {
    REAL(int, "fflush", FILE *);
    int is_ours = f && ours(fileno(f));
    if (fails(WRITE, is_ours)) return EOF;
    int recording = begin(is_ours), done = real(f);
    if (recording) whole(fileno(f));
    end(recording);
    return done;
}
int fclose(FILE *f) {
    REAL(int, "fclose", FILE *);
    int is_ours = ours(fileno(f)), lost = fails(WRITE, is_ours), recording = begin(is_ours);
    if (recording) { /* its last buffer is written now */
        REAL(int, "fflush", FILE *);
        if (fcntl(fileno(f), F_GETFL) & (O_WRONLY | O_RDWR)) { real(f); whole(fileno(f)); }
    }
    if (lost) __fpurge(f); /* what was in its buffer is gone */
    int done = real(f);
    end(recording);
    if (lost) errno = failing;
    return lost ? EOF : done;
}
static int cut(const char *name, int fd, off64_t n) {
    int (*real)(int, off64_t) = (int (*)(int, off64_t))dlsym(RTLD_NEXT, name);
    int is_ours = ours(fd);
    if (fails(TRUNCATE, is_ours)) return -1;
    int recording = begin(is_ours), done = real(fd, n);
    if (recording && !done) note(CUT, inode_of(fd), n, NULL, 0, NULL, NULL);
    end(recording);
    return done;
}
int ftruncate(int fd, off_t n) { return cut("ftruncate", fd, n); }
int ftruncate64(int fd, off64_t n) { return cut("ftruncate64", fd, n); }
/* Copies within the kernel would be seen by nobody: callers fall back to read and write. */
ssize_t copy_file_range(int a, off64_t *i, int b, off64_t *j, size_t n, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    if (ours(b)) { errno = ENOSYS; return -1; }
    return real(a, i, b, j, n, flags);
}
ssize_t sendfile(int b, int a, off_t *o, size_t n) {
    REAL(ssize_t, "sendfile", int, int, off_t *, size_t);
    if (ours(b)) { errno = EINVAL; return -1; }
    return real(b, a, o, n);
}
ssize_t sendfile64(int b, int a, off64_t *o, size_t n) {
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    if (ours(b)) { errno = EINVAL; return -1; }
    return real(b, a, o, n);
}

/* Syncing, and names */
static int synced(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int is_ours = ours(fd);
    if (fails(SYNC, is_ours)) return -1;
    int recording = begin(is_ours), done = real(fd);
    if (recording && !done) { char path[4096]; path_of(fd, path); note(SYNCED, inode_of(fd), 0, NULL, 0, path, NULL); }
    end(recording);
    return done;
}
int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
static int named(int kind, int event, int is_ours, const char *one, const char *two, int done, int *recording, int stage) {
    if (!stage) { if (fails(kind, is_ours)) return 1; *recording = begin(is_ours); return 0; }
    if (*recording && !done) note(event, 0, 0, NULL, 0, one, two);
    end(*recording);
    return 0;
}
#define NAMED(kind, event, one, two, call) \
    char b1[4096], b2[4096]; (void)b1; (void)b2; \
    const char *first = one, *second = two; int recording = 0; \
    int is_ours = below(first) || below(second); \
    if (named(kind, event, is_ours, first, second, 0, &recording, 0)) return -1; \
    int done = call; \
    named(kind, event, is_ours, first, second, done, &recording, 1); \
    return done
int rename(const char *a, const char *b) { REAL(int, "rename", const char *, const char *); NAMED(RENAME, RENAMED, full(AT_FDCWD, a, b1), full(AT_FDCWD, b, b2), real(a, b)); }
int renameat(int d, const char *a, int e, const char *b) { REAL(int, "renameat", int, const char *, int, const char *); NAMED(RENAME, RENAMED, full(d, a, b1), full(e, b, b2), real(d, a, e, b)); }
int renameat2(int d, const char *a, int e, const char *b, unsigned f) { REAL(int, "renameat2", int, const char *, int, const char *, unsigned); NAMED(RENAME, RENAMED, full(d, a, b1), full(e, b, b2), real(d, a, e, b, f)); }
int link(const char *a, const char *b) { REAL(int, "link", const char *, const char *); NAMED(RENAME, LINKED, full(AT_FDCWD, a, b1), full(AT_FDCWD, b, b2), real(a, b)); }
int linkat(int d, const char *a, int e, const char *b, int f) { REAL(int, "linkat", int, const char *, int, const char *, int); NAMED(RENAME, LINKED, full(d, a, b1), full(e, b, b2), real(d, a, e, b, f)); }
int unlink(const char *a) { REAL(int, "unlink", const char *); NAMED(UNLINK, UNLINKED, full(AT_FDCWD, a, b1), NULL, real(a)); }
int unlinkat(int d, const char *a, int f) { REAL(int, "unlinkat", int, const char *, int); NAMED(UNLINK, (f & AT_REMOVEDIR) ? REMOVED : UNLINKED, full(d, a, b1), NULL, real(d, a, f)); }
int rmdir(const char *a) { REAL(int, "rmdir", const char *); NAMED(UNLINK, REMOVED, full(AT_FDCWD, a, b1), NULL, real(a)); }
int mkdir(const char *a, mode_t m) { REAL(int, "mkdir", const char *, mode_t); NAMED(MKDIR, MADE, full(AT_FDCWD, a, b1), NULL, real(a, m)); }
int mkdirat(int d, const char *a, mode_t m) { REAL(int, "mkdirat", int, const char *, mode_t); NAMED(MKDIR, MADE, full(d, a, b1), NULL, real(d, a, m)); }
