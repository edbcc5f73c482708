/* Vectors of every pair of element type and instruction set: loads and stores at any address, sums of lanes, a square transposed. */
#ifndef LA_VECTOR_H
#define LA_VECTOR_H

#include "la_targets.h"

/* Shuffles that need constant lists of lanes: stage h of a transposition, for each number of lanes. */
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define LA_SHUFFLE
#define LA_LOW(L, h, a, b) LA_LOW_(L, h, a, b)
#define LA_LOW_(L, h, a, b) LA_LOW_##L(h, a, b)
#define LA_HIGH(L, h, a, b) LA_HIGH_(L, h, a, b)
#define LA_HIGH_(L, h, a, b) LA_HIGH_##L(h, a, b)
/* lane e of the low half: a[e] if bit h of e is clear, else b[e - h]; of the high half: a[e + h] if clear, else b[e] */
#define LA_LO(e, L, h) ((e) & (h) ? (L) + (e) - (h) : (e))
#define LA_HI(e, L, h) ((e) & (h) ? (L) + (e) : (e) + (h))
#define LA_4(F, e, L, h) F(e, L, h), F(e + 1, L, h), F(e + 2, L, h), F(e + 3, L, h)
#define LA_LOW_2(h, a, b) __builtin_shufflevector(a, b, LA_LO(0, 2, h), LA_LO(1, 2, h))
#define LA_HIGH_2(h, a, b) __builtin_shufflevector(a, b, LA_HI(0, 2, h), LA_HI(1, 2, h))
#define LA_LOW_4(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_LO, 0, 4, h))
#define LA_HIGH_4(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_HI, 0, 4, h))
#define LA_LOW_8(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_LO, 0, 8, h), LA_4(LA_LO, 4, 8, h))
#define LA_HIGH_8(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_HI, 0, 8, h), LA_4(LA_HI, 4, 8, h))
#define LA_16(F, h) LA_4(F, 0, 16, h), LA_4(F, 4, 16, h), LA_4(F, 8, 16, h), LA_4(F, 12, 16, h)
#define LA_LOW_16(h, a, b) __builtin_shufflevector(a, b, LA_16(LA_LO, h))
#define LA_HIGH_16(h, a, b) __builtin_shufflevector(a, b, LA_16(LA_HI, h))
#endif
#endif

/* v is in a register from here on: a compiler that would read it where it is used, every time, does not. */
#if defined(__x86_64__)
#define LA_HOLD(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define LA_HOLD(v) __asm__("" : "+w"(v))
#else
#define LA_HOLD(v) (void)0
#endif

#define LA_BODY "la_vector.inc.h"
#include "la_each.h"

#endif
