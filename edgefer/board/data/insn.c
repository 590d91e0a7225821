/* insn.c: counts the AArch64 instructions that a program executes, by class (QEMU TCG plugin API, version 1).
 *
 * Every translated block adds its instructions to the counters when it is run: the counts are exact for a program of
 * one thread.  close(0x5eed0000 + k), which does nothing else, writes a snapshot of them under the number k.
 * JSON lines go to $INSN_OUT, or to standard error.  The classes follow the encoding index of the Arm Architecture
 * Reference Manual, C4.1; their meaning is told to users in edgefer/board/instructions.py.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The part of qemu-plugin.h that is used here. */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translation_callback)(plugin_id, struct qemu_plugin_tb *);
typedef void (*syscall_callback)(plugin_id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t,
                                 uint64_t, uint64_t, uint64_t, uint64_t);
typedef void (*exit_callback)(plugin_id, void *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translation_callback);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_callback);
extern void qemu_plugin_register_atexit_cb(plugin_id, exit_callback, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *, uint64_t);
int qemu_plugin_version = 1;

enum { INLINE_ADD = 0, CLOSE = 57, SNAPSHOT = 0x5eed };
enum { INT8_DOT, INT_MULTIPLY, INT_VECTOR, FLOAT_VECTOR, FLOAT_SCALAR, LOAD, STORE, INTEGER, BRANCH, OTHER, CLASSES };
static const char *const names[CLASSES] = {"int8_dot", "int_multiply", "int_vector", "float_vector", "float_scalar",
                                           "load", "store", "integer", "branch", "other"};
static uint64_t counts[CLASSES];
static FILE *output;
static pid_t process;

static unsigned bits(uint32_t word, int high, int low) { return word >> low & ((2u << (high - low)) - 1); }

/* Advanced SIMD, three registers of the same type: bits 15:11 say what is done. */
static int three_same(uint32_t word) {
  unsigned opcode = bits(word, 15, 11);
  if (opcode >= 0x18) return FLOAT_VECTOR;
  return opcode == 0x12 || opcode == 0x13 || opcode == 0x16 ? INT_MULTIPLY : INT_VECTOR; /* MLA, MUL, SQDMULH */
}

/* ... the extension of these: dot products, matrix products, complex and bfloat16 arithmetic. */
static int three_same_extra(uint32_t word) {
  unsigned opcode = bits(word, 14, 11);
  if (opcode < 0x2) return INT_MULTIPLY; /* SQRDMLAH, SQRDMLSH */
  return opcode < 0x6 ? INT8_DOT : FLOAT_VECTOR;
}

/* ... by one element of a vector. */
static int by_element(uint32_t word) {
  unsigned opcode = bits(word, 15, 12), size = bits(word, 23, 22), u = bits(word, 29, 29);
  if (opcode == 0xe) return INT8_DOT;                                             /* SDOT, UDOT */
  if (opcode == 0xf && !u) return size == 0 || size == 2 ? INT8_DOT : FLOAT_VECTOR; /* SUDOT, USDOT; BFDOT, BFMLAL */
  if (!u) return opcode == 0x0 || opcode == 0x1 || opcode == 0x4 || opcode == 0x5 || opcode == 0x9 ? FLOAT_VECTOR
                                                                                                   : INT_MULTIPLY;
  /* FCMLA, FMLAL2, FMULX, FMLSL2 */
  return (opcode < 0x8 && opcode & 1) || opcode == 0x8 || opcode == 0x9 || opcode == 0xc ? FLOAT_VECTOR : INT_MULTIPLY;
}

/* ... two registers, and reductions of one: comparisons with zero, conversions and rounding are what is float here. */
static int two_registers(uint32_t word) {
  unsigned opcode = bits(word, 16, 12);
  if (bits(word, 21, 17) == 0x18) /* across lanes, and pairs of scalars */
    return opcode == 0xc || opcode == 0xd || opcode == 0xf ? FLOAT_VECTOR : INT_VECTOR;
  if (opcode >= 0xc && opcode <= 0xf) return bits(word, 23, 23) ? FLOAT_VECTOR : INT_VECTOR;
  return opcode >= 0x16 ? FLOAT_VECTOR : INT_VECTOR;
}

static int advanced_simd(uint32_t word) {
  int bit10 = bits(word, 10, 10), bit21 = bits(word, 21, 21);
  if (bits(word, 24, 24)) {
    if (!bit10) return by_element(word);
    if (!bits(word, 22, 19) && !bits(word, 23, 23)) return INT_VECTOR; /* MOVI and the like */
    return bits(word, 15, 11) == 0x1c || bits(word, 15, 11) == 0x1f ? FLOAT_VECTOR : INT_VECTOR; /* SCVTF, FCVTZS */
  }
  if (bit21) {
    if (bit10) return three_same(word);
    if (bits(word, 11, 11)) {
      if (bits(word, 20, 19) == 3) return FLOAT_VECTOR; /* two registers, half precision */
      return two_registers(word);
    }
    return bits(word, 15, 12) >= 0x8 ? INT_MULTIPLY : INT_VECTOR; /* SMLAL to PMULL; SADDL to SABDL */
  }
  if (bit10 && bits(word, 15, 15)) return three_same_extra(word);
  if (bit10 && bits(word, 22, 22) && !bits(word, 15, 14)) return FLOAT_VECTOR; /* three the same, half precision */
  return INT_VECTOR; /* DUP, INS, UMOV, TBL, ZIP, UZP, TRN, EXT */
}

static int simd_and_float(uint32_t word) {
  if (!bits(word, 28, 28)) return bits(word, 31, 31) ? OTHER : advanced_simd(word); /* OTHER: SHA-3, SM3, SM4 */
  if (!bits(word, 30, 30)) return FLOAT_SCALAR;
  return advanced_simd(word); /* on one lane */
}

static int load_or_store(uint32_t word) {
  unsigned group = bits(word, 29, 28), opc = bits(word, 23, 22), vector = bits(word, 26, 26);
  if (group == 1) return !bits(word, 24, 24) || opc ? LOAD : STORE; /* from near the program counter; LDAPUR, STLUR */
  if (group != 3 || vector) return opc & 1 ? LOAD : STORE;          /* bit 22 is L: pairs, structures, exclusives */
  if (!bits(word, 24, 24) && bits(word, 21, 21) && !bits(word, 11, 10)) return LOAD; /* atomic: both */
  if (bits(word, 31, 30) == 3 && opc == 2) return OTHER;                              /* PRFM, PRFUM */
  return opc ? LOAD : STORE;
}

int classify(uint32_t word) {
  switch (bits(word, 28, 25)) {
    case 0x8: case 0x9: case 0x5: case 0xd: return INTEGER;
    case 0xa: case 0xb: return bits(word, 31, 24) == 0xd5 ? OTHER : BRANCH; /* OTHER: system instructions, hints */
    case 0x4: case 0x6: case 0xc: case 0xe: return load_or_store(word);
    case 0x7: case 0xf: return simd_and_float(word);
    default: return OTHER; /* SVE, SME */
  }
}

static void write_counts(const char *mark, unsigned k) {
  if (getpid() != process) return; /* a fork: its counts are a copy */
  fprintf(output, "{\"mark\":\"%s\",\"k\":%u", mark, k);
  for (int i = 0; i < CLASSES; i++) fprintf(output, ",\"%s\":%llu", names[i], (unsigned long long)counts[i]);
  fprintf(output, "}\n");
  fflush(output);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
  uint64_t found[CLASSES] = {0};
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
    found[classify(word)]++;
  }
  for (int i = 0; i < CLASSES; i++)
    if (found[i]) qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD, &counts[i], found[i]);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  if (number == CLOSE && a >> 16 == SNAPSHOT) write_counts("snapshot", a & 0xffff);
}

static void exited(plugin_id id, void *data) { write_counts("exit", 0); }

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  const char *path = getenv("INSN_OUT");
  process = getpid();
  output = path ? fopen(path, "w") : stderr;
  if (!output) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_atexit_cb(id, exited, 0);
  return 0;
}
