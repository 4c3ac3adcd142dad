// What Swift's Glibc module leaves out, each entry with its reason. Nothing here decides anything.
#ifndef CLINUX_H
#define CLINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

// Descriptors in one message: the most any peer of ours sends is 32 (rust-vmm's limit).
#define CLINUX_DESCRIPTORS_MAX 32

// CMSG_* are macros, which Swift does not import. Both return like sendmsg(2)/recvmsg(2).
ssize_t CLinux_send(int socket, const void *bytes, size_t count, const int *descriptors, size_t descriptor_count,
                    int flags);
// `descriptors` holds CLINUX_DESCRIPTORS_MAX; all are close-on-exec. `truncated` says that the kernel dropped some.
ssize_t CLinux_receive(int socket, void *bytes, size_t count, int *descriptors, size_t *descriptor_count,
                       bool *truncated, int flags);

// GNU extensions hidden behind _GNU_SOURCE.
int CLinux_memfd_create_sealable(const char *name);
int CLinux_seal_size(int descriptor);
int CLinux_accept(int socket);
int CLinux_pipe(int ends[2]);  // both close-on-exec
int CLinux_fallocate_punch_hole(int descriptor, int64_t offset, int64_t length);
int CLinux_fallocate_keep_size(int descriptor, int64_t offset, int64_t length);
int CLinux_fallocate_zero_range(int descriptor, int64_t offset, int64_t length);
// Extent queries of lseek(2): SEEK_DATA and SEEK_HOLE are GNU extensions too. -1 with ENXIO: no more data.
int64_t CLinux_seek_data(int descriptor, int64_t offset);
int64_t CLinux_seek_hole(int descriptor, int64_t offset);
// FICLONERANGE, an ioctl(2): `count` bytes of `source` at `offset` become those of `target` at `to`. 0, or an errno value.
int CLinux_clone_range(int target, int source, uint64_t offset, uint64_t count, uint64_t to);
// sync_file_range(2) with SYNC_FILE_RANGE_WRITE, a GNU extension. A hint: failures do not matter.
void CLinux_start_writeback(int descriptor, int64_t offset, int64_t count);
// O_DIRECT, a GNU extension: whether bytes move between the caller's memory and the medium, past the page cache. 0 or -1.
int CLinux_set_direct(int descriptor, int direct);
// UTIME_OMIT, a macro with a shift that Swift does not import.
static const long CLinux_omit_time = (1l << 30) - 2l;
// O_PATH: names an inode without opening it. Closing such a descriptor drops no POSIX lock, and a FIFO does not block.
int CLinux_open_reference(const char *path);
// O_NOATIME, read-only; EPERM for those who neither own the file nor have CAP_FOWNER.
int CLinux_open_without_access_time(const char *path);
// O_DIRECT, a GNU extension: the same file anew, past the page cache. Returns the descriptor, or -1.
int CLinux_open_direct(const char *path, bool read_only);
// statx(2) with STATX_DIOALIGN (Linux 6.1). 1: both are told, and are 0 where the file cannot do direct I/O; 0: it does
// not tell; -1: failed.
int CLinux_direct_alignment(int descriptor, uint32_t *memory, uint32_t *offset);
// fstatfs(2): its f_type has another signedness on each architecture, and its constants are macros.
bool CLinux_is_in_memory(int descriptor);
// statx(2) with STATX_BTIME: when the file was made, so that an inode number that is used again is told from the first
// use. False where the file system does not keep it.
bool CLinux_birth_time(int descriptor, int64_t *seconds, uint32_t *nanoseconds);
// O_TMPFILE, a macro of two others: a file without a name in an open folder, to read and write by its owner; and its
// name, once it is complete. Both return like open(2) and linkat(2).
int CLinux_open_unnamed(int folder);
int CLinux_link_unnamed(int descriptor, int folder, const char *name);
// renameat2(2) with RENAME_NOREPLACE: EEXIST instead of replacing; EINVAL where the file system cannot.
int CLinux_rename_without_replacing(const char *from, const char *to);

// preadv2(2) is a GNU extension. Takes an eventfd's count without ever waiting, whatever flags its other holders set
// on it (RWF_NOWAIT): returns like read(2), EOPNOTSUPP when the file cannot promise that.
ssize_t CLinux_take_count(int descriptor, uint64_t *count);
// Adds one to an eventfd, or sends eight bytes into a socket or pipe, without a SIGPIPE if nobody is there to read;
// what is full stays as it is. `kind` is what CLinux_count_kind said of the descriptor.
int CLinux_count_kind(int descriptor);
void CLinux_add_count(int descriptor, int kind);
// memcpy(3) that no compiler can see through: what it copied is private, and never read from `from` again.
void CLinux_copy(void *to, const void *from, size_t count);

// Shared memory whose file is truncated raises SIGBUS at the next access, on any thread, in the middle of Swift code.
// From the guard on, such an access finds zeros in a private page instead, and the guard is broken; bus errors elsewhere
// are what they were. Returns the guard, or -1 when there are too many. Remove it before the memory is unmapped.
int CLinux_guard(void *base, size_t count);
void CLinux_unguard(int guard);
bool CLinux_is_broken(int guard);
unsigned CLinux_guard_faults(void);  // how often that has happened, in all of the process

// fcntl(2) is variadic, which Swift cannot call. A lock on the whole file that conflicts with UML's ubd, which takes
// one of the process. Ours belongs to the open file: it lasts until the kernel has written what io_uring was told to
// write, also when the process has been killed.
// Returns 0, or an errno value; on EAGAIN/EACCES `holder` is the pid that holds a conflicting lock (0 if unknown).
int CLinux_lock_whole_file(int descriptor, bool exclusive, pid_t *holder);
void CLinux_unlock_whole_file(int descriptor);
// QEMU's way: locks of the open file (F_OFD_SETLK, a GNU extension) on single bytes. Returns 0, or an errno value.
int CLinux_lock_as_qemu(int descriptor, bool exclusive);
// A second open file of the same inode takes part of an exclusive lock: from then on each of the two is in the way of
// UML and of QEMU, for as long as it lives. Both return 0, or an errno value, and then the lock is as it was.
int CLinux_divide_lock(int descriptor, int other);
int CLinux_divide_lock_as_qemu(int other);
int CLinux_duplicate(int descriptor);  // close-on-exec
int CLinux_set_nonblocking(int descriptor, bool enabled);
int CLinux_set_close_on_exec(int descriptor, bool enabled);
// ioctl(2) is variadic. Size of a block device in bytes, or -1.
int64_t CLinux_block_device_size(int descriptor);

// signalfd(2) takes a sigset_t, and blocking the signals belongs to the same step. Returns the descriptor.
int CLinux_signal_descriptor(const int *signals, size_t count);
int CLinux_read_signal(int descriptor);

// What posix_spawn(3) cannot do: die with the parent, run without address randomisation (UML needs that), and
// start in a process group of its own, which a reaper knows before the program runs (its channel, or -1). The three
// descriptors become 0, 1 and 2; `directory` may be NULL. Returns the pid, or -errno.
pid_t CLinux_spawn(const char *path, char *const argv[], char *const envp[], const char *directory, int input,
                   int output, int error, bool without_randomisation, int reaper);
// cpu_set_t and its macros. Keeps this thread, and what it starts, on one processor: `processor`, or the present one if
// that is negative. The former set is stored for CLinux_unpin. Both return 0, or -1 with errno.
int CLinux_pin(int processor, void *former, size_t former_size);
int CLinux_unpin(const void *former, size_t former_size);
int CLinux_pidfd_open(pid_t pid);
// pthread_setname_np(3) is a GNU extension. Names this thread; the kernel keeps 15 bytes.
void CLinux_name_thread(const char *name);

// Starts a process that kills, when we have gone, the process groups that we told it of and did not take back. It
// makes system calls only, so it needs no exec. Returns its pid, or -errno; *channel takes a positive pid_t for each
// group to kill and the negative one to forget it, and its end is our end.
pid_t CLinux_start_reaper(int *channel);

// The schedshm and the rings are shared with other processes. Word-sized relaxed accesses and fences, so that
// neither compiler may tear, repeat or move them. Swift's Atomic needs storage of its own type.
static inline uint16_t CLinux_load16(const void *p) { return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED); }
static inline uint32_t CLinux_load32(const void *p) { return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED); }
static inline uint64_t CLinux_load64(const void *p) { return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED); }
static inline uint16_t CLinux_load16_acquire(const void *p) {
  return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}
static inline void CLinux_store16(void *p, uint16_t v) { __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED); }
static inline void CLinux_store32(void *p, uint32_t v) { __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED); }
static inline void CLinux_store64(void *p, uint64_t v) { __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED); }
static inline void CLinux_store16_release(void *p, uint16_t v) {
  __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}
static inline uint8_t CLinux_load8(const void *p) { return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED); }
// Sets bits of a byte that others change too.
static inline void CLinux_or8(void *p, uint8_t bits) { __atomic_fetch_or((uint8_t *)p, bits, __ATOMIC_RELEASE); }
static inline void CLinux_store8_release(void *p, uint8_t v) { __atomic_store_n((uint8_t *)p, v, __ATOMIC_RELEASE); }
static inline void CLinux_store64_release(void *p, uint64_t v) {
  __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE);
}
// Keeps the compiler from moving accesses across: whoever is killed in between has done what comes before, and not what
// comes after.
static inline void CLinux_order(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }
static inline void CLinux_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
// An instruction that Swift has no word for: the processor waits a little, and lets its other thread run.
static inline void CLinux_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#endif
