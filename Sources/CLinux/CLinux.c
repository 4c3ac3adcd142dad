#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

ssize_t CLinux_send(int socket, const void *bytes, size_t count, const int *descriptors, size_t descriptor_count,
                    int flags) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * CLINUX_DESCRIPTORS_MAX)];
  } control;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor_count > CLINUX_DESCRIPTORS_MAX) {
    errno = EINVAL;
    return -1;
  }
  if (descriptor_count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptor_count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * descriptor_count);
    memcpy(CMSG_DATA(header), descriptors, sizeof(int) * descriptor_count);
  }
  return sendmsg(socket, &message, flags | MSG_NOSIGNAL);
}

ssize_t CLinux_receive(int socket, void *bytes, size_t count, int *descriptors, size_t *descriptor_count,
                       bool *truncated, int flags) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * CLINUX_DESCRIPTORS_MAX)];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = count};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  *descriptor_count = 0;
  *truncated = false;
  ssize_t received = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (received < 0) return received;
  *truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(descriptors + *descriptor_count, CMSG_DATA(header), here * sizeof(int));
    *descriptor_count += here;
  }
  return received;
}

int CLinux_memfd_create_sealable(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }

int CLinux_seal_size(int descriptor) { return fcntl(descriptor, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK); }

int CLinux_accept(int socket) { return accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

int CLinux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int CLinux_duplicate(int descriptor) { return fcntl(descriptor, F_DUPFD_CLOEXEC, 0); }

int CLinux_fallocate_punch_hole(int descriptor, int64_t offset, int64_t length) {
  return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int CLinux_fallocate_keep_size(int descriptor, int64_t offset, int64_t length) {
  return fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, length);
}

int CLinux_fallocate_zero_range(int descriptor, int64_t offset, int64_t length) {
  return fallocate(descriptor, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int64_t CLinux_seek_data(int descriptor, int64_t offset) { return lseek(descriptor, offset, SEEK_DATA); }

int64_t CLinux_seek_hole(int descriptor, int64_t offset) { return lseek(descriptor, offset, SEEK_HOLE); }

int CLinux_clone_range(int target, int source, uint64_t offset, uint64_t count, uint64_t to) {
  struct file_clone_range range = {.src_fd = source, .src_offset = offset, .src_length = count, .dest_offset = to};
  return ioctl(target, FICLONERANGE, &range) == 0 ? 0 : errno;
}

void CLinux_start_writeback(int descriptor, int64_t offset, int64_t count) {
  int ignored = sync_file_range(descriptor, offset, count, SYNC_FILE_RANGE_WRITE);
  (void)ignored;
}

int CLinux_set_direct(int descriptor, int direct) {
  int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0) return -1;
  return fcntl(descriptor, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

ssize_t CLinux_take_count(int descriptor, uint64_t *count) {
  struct iovec part = {.iov_base = count, .iov_len = sizeof *count};
  return preadv2(descriptor, &part, 1, -1, RWF_NOWAIT);
}

int CLinux_count_kind(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 ? (int)(status.st_mode & S_IFMT) : 0;
}

void CLinux_add_count(int descriptor, int kind) {
  const uint64_t one = 1;
  ssize_t ignored;
  if (kind == S_IFSOCK) {
    ignored = send(descriptor, &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL);
  } else if (kind == S_IFIFO) {
    // Pipes know no MSG_NOSIGNAL: hold the signal back, and take it away if it was this write that raised it.
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ignored = write(descriptor, &one, sizeof one);
    if (ignored < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE)) {
      const struct timespec now = {0, 0};
      sigtimedwait(&pipe_signal, NULL, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  } else {
    ignored = write(descriptor, &one, sizeof one);
  }
  (void)ignored;
}

void CLinux_copy(void *to, const void *from, size_t count) { memcpy(to, from, count); }


int CLinux_open_reference(const char *path) { return open(path, O_PATH | O_CLOEXEC); }

int CLinux_open_without_access_time(const char *path) { return open(path, O_RDONLY | O_CLOEXEC | O_NOATIME); }

int CLinux_open_direct(const char *path, bool read_only) {
  if (!read_only) return open(path, O_RDWR | O_CLOEXEC | O_DIRECT);
  int quiet = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT | O_NOATIME);
  return quiet < 0 && errno == EPERM ? open(path, O_RDONLY | O_CLOEXEC | O_DIRECT) : quiet;
}

int CLinux_direct_alignment(int descriptor, uint32_t *memory, uint32_t *offset) {
  struct statx status;
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) != 0) return -1;
  if (!(status.stx_mask & STATX_DIOALIGN)) return 0;
  *memory = status.stx_dio_mem_align;
  *offset = status.stx_dio_offset_align;
  return 1;
}

bool CLinux_birth_time(int descriptor, int64_t *seconds, uint32_t *nanoseconds) {
  struct statx status;
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_BTIME, &status) != 0 || !(status.stx_mask & STATX_BTIME)) return false;
  *seconds = status.stx_btime.tv_sec;
  *nanoseconds = status.stx_btime.tv_nsec;
  return true;
}

int CLinux_open_unnamed(int folder) { return openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); }

int CLinux_link_unnamed(int descriptor, int folder, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  return linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW);
}

bool CLinux_is_in_memory(int descriptor) {
  struct statfs status;
  if (fstatfs(descriptor, &status) != 0) return false;
  return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC || status.f_type == HUGETLBFS_MAGIC;
}

int CLinux_rename_without_replacing(const char *from, const char *to) {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

int CLinux_lock_whole_file(int descriptor, bool exclusive, pid_t *holder) {
  struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
  *holder = 0;
  if (fcntl(descriptor, F_OFD_SETLK, &lock) == 0) return 0;
  int failure = errno;
  if (failure == EAGAIN || failure == EACCES) {
    struct flock other = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(descriptor, F_OFD_GETLK, &other) == 0 && other.l_type != F_UNLCK && other.l_pid > 0) *holder = other.l_pid;
  }
  return failure;
}

void CLinux_unlock_whole_file(int descriptor) {
  struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  fcntl(descriptor, F_OFD_SETLK, &lock);
}

// The permissions of QEMU's block layer that matter here, by bit number.
enum { PERMISSION_READ = 0, PERMISSION_WRITE = 1, PERMISSION_RESIZE = 3, USED_BYTE = 100, EXCLUDED_BYTE = 200 };

static int lock_byte(int descriptor, off_t byte) {
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  return fcntl(descriptor, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

static int test_byte(int descriptor, off_t byte) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  if (fcntl(descriptor, F_OFD_GETLK, &lock) != 0) return errno;
  return lock.l_type == F_UNLCK ? 0 : EAGAIN;
}

int CLinux_lock_as_qemu(int descriptor, bool exclusive) {
  static const int permissions[] = {PERMISSION_READ, PERMISSION_WRITE, PERMISSION_RESIZE};
  for (size_t i = 0; i < 3; i++) {
    bool used = exclusive || permissions[i] == PERMISSION_READ;
    bool excluded = permissions[i] != PERMISSION_READ;  // nobody else writes; others may read, which is theirs to say
    int failure = used ? lock_byte(descriptor, USED_BYTE + permissions[i]) : 0;
    if (!failure && excluded) failure = lock_byte(descriptor, EXCLUDED_BYTE + permissions[i]);
    if (failure) return failure;
  }
  // First take, then look, as QEMU does: of two that come at once both see each other.
  for (size_t i = 0; i < 3; i++) {
    bool used = exclusive || permissions[i] == PERMISSION_READ;
    bool excluded = permissions[i] != PERMISSION_READ;
    int failure = used ? test_byte(descriptor, EXCLUDED_BYTE + permissions[i]) : 0;
    if (!failure && excluded) failure = test_byte(descriptor, USED_BYTE + permissions[i]);
    if (failure) return failure;
  }
  return 0;
}

// QEMU's bytes are on both sides of it.
enum { LOCK_DIVISION = 150 };

static int lock_range(int descriptor, short type, off_t start) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start};
  return fcntl(descriptor, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

int CLinux_divide_lock(int descriptor, int other) {
  // What stays locked is in everybody's way meanwhile.
  int failure = lock_range(descriptor, F_UNLCK, LOCK_DIVISION);
  if (failure) return failure;
  failure = lock_range(other, F_WRLCK, LOCK_DIVISION);
  if (failure) lock_range(descriptor, F_WRLCK, LOCK_DIVISION);
  return failure;
}

int CLinux_divide_lock_as_qemu(int other) {
  static const int bytes[] = {USED_BYTE + PERMISSION_READ,     USED_BYTE + PERMISSION_WRITE,
                              USED_BYTE + PERMISSION_RESIZE,   EXCLUDED_BYTE + PERMISSION_WRITE,
                              EXCLUDED_BYTE + PERMISSION_RESIZE};
  for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
    int failure = lock_byte(other, bytes[i]);
    if (failure) return failure;
  }
  return 0;
}

int CLinux_set_nonblocking(int descriptor, bool enabled) {
  int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0) return -1;
  return fcntl(descriptor, F_SETFL, enabled ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

int CLinux_set_close_on_exec(int descriptor, bool enabled) {
  return fcntl(descriptor, F_SETFD, enabled ? FD_CLOEXEC : 0);
}

int64_t CLinux_block_device_size(int descriptor) {
  uint64_t size = 0;
  return ioctl(descriptor, BLKGETSIZE64, &size) == 0 ? (int64_t)size : -1;
}

int CLinux_signal_descriptor(const int *signals, size_t count) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < count; i++) sigaddset(&set, signals[i]);
  if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return -1;
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int CLinux_read_signal(int descriptor) {
  struct signalfd_siginfo info;
  ssize_t count = read(descriptor, &info, sizeof info);
  return count == sizeof info ? (int)info.ssi_signo : -1;
}

static void tell_reaper(int channel, pid_t message) {
  if (channel >= 0) send(channel, &message, sizeof message, MSG_NOSIGNAL);
}

pid_t CLinux_spawn(const char *path, char *const argv[], char *const envp[], const char *directory, int input,
                   int output, int error, bool without_randomisation, int reaper) {
  int report[2];  // the child writes errno here if it cannot exec; a successful exec closes it
  if (pipe2(report, O_CLOEXEC) != 0) return -errno;
  pid_t parent = getpid();
  pid_t child = fork();
  if (child < 0) {
    int failure = errno;
    close(report[0]);
    close(report[1]);
    return -failure;
  }
  if (child == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);  // the parent died before prctl took effect
    tell_reaper(reaper, getpid());        // not the parent: it may die before it can, and this have children by then
    if (without_randomisation) personality(personality(0xffffffff) | ADDR_NO_RANDOMIZE);
    // Lift them above 2 first: one of them may itself be 0, 1 or 2.
    int in = fcntl(input, F_DUPFD_CLOEXEC, 3), out = fcntl(output, F_DUPFD_CLOEXEC, 3),
        err = fcntl(error, F_DUPFD_CLOEXEC, 3);
    if (in >= 0 && out >= 0 && err >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2 &&
        (!directory || chdir(directory) == 0))
      execve(path, argv, envp);
    int failure = errno;
    tell_reaper(reaper, -getpid());
    ssize_t ignored = write(report[1], &failure, sizeof failure);
    (void)ignored;
    _exit(127);
  }
  setpgid(child, child);  // in both, so that whoever comes first has done it
  close(report[1]);
  int failure = 0;
  ssize_t count;
  do count = read(report[0], &failure, sizeof failure);
  while (count < 0 && errno == EINTR);
  close(report[0]);
  if (count != sizeof failure) return child;
  // Nobody else knows of it, so that nobody else would collect it.
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
  return -failure;
}

int CLinux_pin(int processor, void *former, size_t former_size) {
  if (sched_getaffinity(0, former_size, former) != 0) return -1;
  if (processor < 0) processor = sched_getcpu();
  cpu_set_t set;
  CPU_ZERO(&set);
  if (processor < 0 || processor >= CPU_SETSIZE) {
    errno = EINVAL;
    return -1;
  }
  CPU_SET(processor, &set);
  return sched_setaffinity(0, sizeof set, &set);
}

int CLinux_unpin(const void *former, size_t former_size) { return sched_setaffinity(0, former_size, former); }

void CLinux_name_thread(const char *name) {
  char kept[16] = {0};
  strncpy(kept, name, sizeof kept - 1);
  pthread_setname_np(pthread_self(), kept);
}

int CLinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

// All that we may ever start; memory that is never touched costs nothing.
enum { REAPER_GROUPS_MAX = 1 << 16 };

static void reap_when_orphaned(int channel) __attribute__((noreturn));

static void reap_when_orphaned(int channel) {
  static pid_t groups[REAPER_GROUPS_MAX];
  size_t count = 0;
  pid_t message;
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  setsid();  // a signal to our starter's group is not for us
  prctl(PR_SET_NAME, "ttblk-reaper");
  // Holds nothing else open: somebody may wait for the end of a pipe of ours.
  dup2(channel, 0);
  close_range(1, ~0u, 0);
  while (read(0, &message, sizeof message) == sizeof message) {
    if (message > 0 && count < REAPER_GROUPS_MAX) groups[count++] = message;
    for (size_t i = 0; message < 0 && i < count; i++)
      if (groups[i] == -message) groups[i--] = groups[--count];
  }
  for (size_t i = 0; i < count; i++) kill(-groups[i], SIGKILL);
  _exit(0);
}

pid_t CLinux_start_reaper(int *channel) {
  int ends[2];
  // No pipe: with one, its death could be ours, by SIGPIPE.
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
  pid_t child = fork();
  if (child == 0) {
    close(ends[1]);
    reap_when_orphaned(ends[0]);
  }
  int failure = errno;
  close(ends[0]);
  if (child < 0) {
    close(ends[1]);
    return -failure;
  }
  *channel = ends[1];
  return child;
}
