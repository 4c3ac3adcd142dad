// ptrace(2) for UML kernels on processors with AMX.
//
// A UML kernel (6.12, arch/x86/um/os-Linux/registers.c) sets the floating point state of its processes with a
// buffer of a fixed 2,696 bytes. The host takes nothing but the full size of its own state (xstateregs_set in
// arch/x86/kernel/fpu/regset.c), which is 11,008 bytes where AMX is enabled: the first process of every guest then
// dies with "ptrace set fp regs failed, errno = 14". The rest of the state is unused and zero: so pad it.
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { X86_XSTATE = 0x202, STATE_MAX = 65536 };  // NT_X86_XSTATE of linux/elf.h

// Size of the state for the features that the host's kernel has enabled (CPUID leaf 0xd).
static unsigned state_size(void) {
  static unsigned size;
  unsigned a, c, d;
  if (!size && !__get_cpuid_count(0xd, 0, &a, &size, &c, &d)) size = 1;
  return size;
}

static long set_state(pid_t pid, struct iovec *state) {
  static char padded[STATE_MAX];
  unsigned size = state_size();
  if (state->iov_len >= size || size > STATE_MAX)
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, X86_XSTATE, state);
  memcpy(padded, state->iov_base, state->iov_len);
  memset(padded + state->iov_len, 0, size - state->iov_len);
  struct iovec whole = {.iov_base = padded, .iov_len = size};
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, X86_XSTATE, &whole);
}

__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...) {
  va_list arguments;
  va_start(arguments, request);
  pid_t pid = va_arg(arguments, pid_t);
  void *address = va_arg(arguments, void *);
  void *data = va_arg(arguments, void *);
  va_end(arguments);
  if (request == PTRACE_SETREGSET && (long)address == X86_XSTATE) return set_state(pid, data);
  // libc returns the word of a PEEK, where the system call stores it.
  if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
    long word;
    if (syscall(SYS_ptrace, request, pid, address, &word) < 0) return -1;
    errno = 0;
    return word;
  }
  return syscall(SYS_ptrace, request, pid, address, data);
}
