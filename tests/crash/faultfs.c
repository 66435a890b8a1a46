/* Faults of a file system, by preloading: every durable step of a process under FAULT_ROOT is
 * counted and written to FAULT_TRACE, and the one numbered FAULT_AT is the last thing that the
 * process does (FAULT_WHEN=before or after it: SIGKILL), or fails (FAULT_WHEN=eio or enospc).  Only
 * a process with FAULT_PROCESS in its command line is counted and hurt.
 *
 * With FAULT_SHADOW, each synced file is copied there under its inode's number and each synced
 * folder's names are listed there: what a power cut would leave.  What an unlink or a rename took
 * away is kept there too, until its folder is synced: it may come back.  A folder that is exchanged
 * for another one, or renamed, is noted with both parents, until they are synced.  See faultfs.py.
 *
 * FAULT_FORGET is for negative controls: a sync of a path that contains it does nothing at all,
 * like code that forgot it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root, *trace, *when, *shadow, *forget;
static long at, count;
static int active, counted;
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    char line[8192] = {0};
    const char *process = getenv("FAULT_PROCESS");
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    if (fd >= 0) close(fd);
    for (ssize_t i = 0; i < n; i++) if (!line[i]) line[i] = ' ';
    root = getenv("FAULT_ROOT");
    trace = getenv("FAULT_TRACE");
    when = getenv("FAULT_WHEN") ? getenv("FAULT_WHEN") : "";
    shadow = getenv("FAULT_SHADOW");
    forget = getenv("FAULT_FORGET");
    at = getenv("FAULT_AT") ? atol(getenv("FAULT_AT")) : 0;
    active = root != NULL;
    counted = !process || strstr(line, process);
}

static int ours(const char *path) {
    return active && path && !strncmp(path, root, strlen(root));
}

static void path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = 0;
}

/* Counts a step; returns the error if it is the one that fails, or 0.  Called with the lock held. */
static int step(const char *op, const char *path) {
    if (!counted) return 0;
    count++;
    if (trace) {
        char line[PATH_MAX + 64];
        int n = snprintf(line, sizeof line, "%ld %s %s\n", count, op, path);
        int fd = open(trace, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd >= 0) { if (write(fd, line, n)) {} close(fd); }
    }
    if (count != at) return 0;
    if (!strcmp(when, "before")) kill(getpid(), SIGKILL);
    return !strcmp(when, "eio") ? EIO : !strcmp(when, "enospc") ? ENOSPC : 0;
}

static void done(void) {
    if (counted && count == at && !strcmp(when, "after")) kill(getpid(), SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What was taken out of the folder is gone for good once the folder is synced. */
static void forget_gone(unsigned long folder) {
    char begin[64], name[PATH_MAX];
    snprintf(begin, sizeof begin, "gone.%lu.", folder);
    DIR *d = opendir(shadow);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (!strncmp(e->d_name, begin, strlen(begin))) {
            snprintf(name, sizeof name, "%s/%s", shadow, e->d_name);
            REAL(unlink)(name);
        }
    if (d) closedir(d);
}

/* A name is about to be removed or given to another file: its durable bytes may come back. */
static void keep_gone(const char *path) {
    struct stat s, folder;
    char parent[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    if (!shadow || stat(path, &s) || !S_ISREG(s.st_mode) || s.st_nlink > 1) return;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash) return;
    *slash = 0;
    if (stat(parent, &folder)) return;
    snprintf(from, sizeof from, "%s/%lu.bytes", shadow, (unsigned long)s.st_ino);
    snprintf(to, sizeof to, "%s/gone.%lu.%s", shadow, (unsigned long)folder.st_ino, slash + 1);
    REAL(rename)(from, to);
}

static unsigned long parent_of(const char *path) {
    struct stat s;
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash) return 0;
    *slash = 0;
    return stat(parent, &s) ? 0 : (unsigned long)s.st_ino;
}

/* A folder got another place: "undo.N" says how, and "wait.N.PARENT" stands for each sync that is
 * still to come before that is durable. */
static void note_move(const char *op, const char *a, const char *b) {
    static int moves;
    char name[PATH_MAX];
    if (!shadow) return;
    unsigned long parents[2] = {parent_of(a), parent_of(b)};
    moves++;
    snprintf(name, sizeof name, "%s/undo.%d", shadow, moves);
    FILE *out = fopen(name, "w");
    if (out) { fprintf(out, "%s\n%s\n%s", op, a, b); fclose(out); }
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/wait.%d.%lu", shadow, moves, parents[i]);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if (fd >= 0) close(fd);
    }
}

/* The folder is synced: what waited for it waits no more. */
static void forget_moves(unsigned long folder) {
    char end[64], name[PATH_MAX];
    snprintf(end, sizeof end, ".%lu", folder);
    DIR *d = opendir(shadow);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char *last = strrchr(e->d_name, '.');
        if (!strncmp(e->d_name, "wait.", 5) && last && !strcmp(last, end)) {
            snprintf(name, sizeof name, "%s/%s", shadow, e->d_name);
            REAL(unlink)(name);
        }
    }
    if (d) closedir(d);
}

static void keep(int fd, const char *path) {
    struct stat s;
    char name[PATH_MAX];
    if (!shadow || fstat(fd, &s)) return;
    if (S_ISDIR(s.st_mode)) {
        forget_gone((unsigned long)s.st_ino);
        forget_moves((unsigned long)s.st_ino);
        snprintf(name, sizeof name, "%s/%lu.names", shadow, (unsigned long)s.st_ino);
        FILE *out = fopen(name, "w");
        DIR *d = opendir(path);
        struct dirent *e;
        while (out && d && (e = readdir(d))) fprintf(out, "%s\n", e->d_name);
        if (d) closedir(d);
        if (out) fclose(out);
        return;
    }
    snprintf(name, sizeof name, "%s/%lu.bytes", shadow, (unsigned long)s.st_ino);
    int in = open(path, O_RDONLY), out = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char buffer[65536];
    ssize_t n;
    while (in >= 0 && out >= 0 && (n = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, n) != n) break;
    if (in >= 0) close(in);
    if (out >= 0) close(out);
}

#define SYNC(name)                                                                              \
    int name(int fd) {                                                                          \
        char path[PATH_MAX];                                                                    \
        path_of(fd, path);                                                                      \
        if (!ours(path)) return REAL(name)(fd);                                                 \
        if (forget && strstr(path, forget)) return 0;                                           \
        pthread_mutex_lock(&one);                                                               \
        int result = -1, error;                                                                 \
        if ((error = step("sync", path))) errno = error;                                        \
        else if (!(result = REAL(name)(fd))) keep(fd, path);                                    \
        done();                                                                                 \
        pthread_mutex_unlock(&one);                                                             \
        return result;                                                                          \
    }
SYNC(fsync)
SYNC(fdatasync)

#define CALL(op, path, taken, real)                                                             \
    if (!ours(path)) return real;                                                               \
    pthread_mutex_lock(&one);                                                                   \
    int result = -1, error;                                                                     \
    if ((error = step(op, path))) errno = error;                                                \
    else {                                                                                      \
        if (taken) keep_gone(path);                                                             \
        result = real;                                                                          \
    }                                                                                           \
    int kept = errno;                                                                           \
    done();                                                                                     \
    pthread_mutex_unlock(&one);                                                                 \
    errno = kept;                                                                               \
    return result;

static int moved(const char *op, const char *a, const char *b, int result) {
    struct stat s;
    if (!result && !stat(b, &s) && S_ISDIR(s.st_mode)) note_move(op, a, b);
    return result;
}

int rename(const char *a, const char *b) {
    CALL("rename", b, 1, moved("rename", a, b, REAL(rename)(a, b)))
}
int renameat2(int f, const char *a, int t, const char *b, unsigned int g) {
    CALL("exchange", b, 0, moved("exchange", a, b, REAL(renameat2)(f, a, t, b, g)))
}
int link(const char *a, const char *b) { CALL("link", b, 0, REAL(link)(a, b)) }
int linkat(int f, const char *a, int t, const char *b, int g) {
    CALL("link", b, 0, REAL(linkat)(f, a, t, b, g))
}
int unlink(const char *a) { CALL("unlink", a, 1, REAL(unlink)(a)) }
int mkdir(const char *a, mode_t m) { CALL("mkdir", a, 0, REAL(mkdir)(a, m)) }
int rmdir(const char *a) { CALL("rmdir", a, 0, REAL(rmdir)(a)) }
int unlinkat(int f, const char *a, int g) {
    char path[2 * PATH_MAX] = {0};
    if (*a == '/' || f == AT_FDCWD) snprintf(path, sizeof path, "%s", a);
    else {
        path_of(f, path);
        snprintf(path + strlen(path), PATH_MAX, "/%s", a);
    }
    CALL(g & AT_REMOVEDIR ? "rmdir" : "unlink", path, 1, REAL(unlinkat)(f, a, g))
}
