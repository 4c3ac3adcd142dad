#define _GNU_SOURCE
#include "SingleStep.h"

#include <signal.h>
#include <string.h>

#if defined(__x86_64__)

static __thread struct {
  const struct SingleStep_range *ranges;
  size_t range_count, copy_size, count, max;
  uint8_t *copies;
  const uint8_t *last;
} stepper;

static int has_changed(void) {
  const uint8_t *last = stepper.last;
  for (size_t i = 0; i < stepper.range_count; last += stepper.ranges[i++].count)
    if (memcmp(last, stepper.ranges[i].base, stepper.ranges[i].count)) return 1;
  return 0;
}

static void keep(void) {
  if (stepper.count >= stepper.max) return;
  uint8_t *copy = stepper.copies + stepper.count++ * stepper.copy_size;
  stepper.last = copy;
  for (size_t i = 0; i < stepper.range_count; copy += stepper.ranges[i++].count)
    memcpy(copy, stepper.ranges[i].base, stepper.ranges[i].count);
}

static void stepped(int number) {
  (void)number;
  if (stepper.ranges && has_changed()) keep();
}

int SingleStep_is_possible(void) { return 1; }

__attribute__((noinline)) static void set_trap(int on) {
  // Past the red zone, which the compiler may be using.
  if (on)
    __asm__ volatile("sub $128, %%rsp\n pushfq\n orq $0x100, (%%rsp)\n popfq\n add $128, %%rsp" ::: "memory", "cc");
  else
    __asm__ volatile("sub $128, %%rsp\n pushfq\n andq $~0x100, (%%rsp)\n popfq\n add $128, %%rsp" ::: "memory", "cc");
}

size_t SingleStep_run(void (*body)(void *), void *context, const struct SingleStep_range *ranges, size_t range_count,
                      uint8_t *copies, size_t copies_max) {
  // Stays: the flag is this thread's, the handler everybody's, and nobody else has a use for it.
  struct sigaction action = {.sa_handler = stepped, .sa_flags = SA_RESTART};
  sigaction(SIGTRAP, &action, NULL);
  stepper.ranges = ranges;
  stepper.range_count = range_count;
  stepper.copy_size = 0;
  for (size_t i = 0; i < range_count; i++) stepper.copy_size += ranges[i].count;
  stepper.copies = copies;
  stepper.max = copies_max;
  stepper.count = 0;
  keep();  // as it is before, which does not count
  set_trap(1);
  body(context);
  set_trap(0);
  stepper.ranges = NULL;
  memmove(copies, copies + stepper.copy_size, (stepper.count - 1) * stepper.copy_size);
  return stepper.count - 1;
}

#else

int SingleStep_is_possible(void) { return 0; }

size_t SingleStep_run(void (*body)(void *), void *context, const struct SingleStep_range *ranges, size_t range_count,
                      uint8_t *copies, size_t copies_max) {
  (void)ranges, (void)range_count, (void)copies, (void)copies_max;
  body(context);
  return 0;
}

#endif
