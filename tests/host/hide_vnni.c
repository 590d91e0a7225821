// Hides VNNI from a process, so that ONNX Runtime chooses the kernels that it has for CPUs without it.
//
//   gcc -shared -fPIC -O1 hide_vnni.c -o hide_vnni.so
//   HIDDEN="avx512f avx_vnni" LD_PRELOAD=./hide_vnni.so program
//
// Linux on x86-64 has the CPUID instruction trap, where the CPU and the hypervisor let it (`cpuid_fault` in
// /proc/cpuinfo); it is then carried out here, and bits of its answer are cleared.

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

static int hides_avx512f, hides_avx512_vnni, hides_avx_vnni;

static long let_cpuid(long may) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, may); }

static void answer(int number, siginfo_t *info, void *context) {
  (void)info;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
  if (instruction[0] != 0x0f || instruction[1] != 0xa2) {
    signal(number, SIG_DFL);
    return;
  }
  const unsigned leaf = registers[REG_RAX], part = registers[REG_RCX];
  unsigned a, b, c, d;
  let_cpuid(1);
  __cpuid_count(leaf, part, a, b, c, d);
  let_cpuid(0);
  if (leaf == 7 && part == 0) {
    const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 28 | 1u << 30 | 1u << 31;
    if (hides_avx512f) b &= ~avx512;
    if (hides_avx512f || hides_avx512_vnni) c &= ~(1u << 11), d &= ~(1u << 22 | 1u << 24 | 1u << 25);  // and AMX
  }
  if (leaf == 7 && part == 1 && hides_avx_vnni) a &= ~(1u << 4);
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
  const char *hidden = getenv("HIDDEN");
  if (!hidden) return;
  hides_avx512f = strstr(hidden, "avx512f") != 0;
  hides_avx512_vnni = strstr(hidden, "avx512_vnni") != 0;
  hides_avx_vnni = strstr(hidden, "avx_vnni") != 0;
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, 0);
  if (let_cpuid(0)) _exit(77);
}
