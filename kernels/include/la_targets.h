/* How a function is compiled for AVX2 with FMA (V3) and for AVX-512 (V4) beside the baseline of the build. That of arm64 has NEON. */
#ifndef LA_TARGETS_H
#define LA_TARGETS_H

/* the instruction sets: the order is that of what they can do */
enum { LA_BASE = 0, LA_NEON = 1, LA_AVX2 = 3, LA_AVX512 = 4 };

/* bytes of a cache line, and of the longest vector: short rows are padded to whole ones */
#define LA_LINE 64

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define LA_HAVE_TILES 1
#if defined(__clang__)
#define LA_PUSH_V3 _Pragma("clang attribute push(__attribute__((target(\"avx2,fma\"))), apply_to = function)")
#define LA_PUSH_V4 _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,avx512f,avx512vl,avx512dq\"))), apply_to = function)")
#define LA_POP _Pragma("clang attribute pop")
#else
#define LA_PUSH_V3 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma\")")
#define LA_PUSH_V4 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,avx512f,avx512vl,avx512dq\")")
#define LA_POP _Pragma("GCC pop_options")
#endif
typedef float la_f8 __attribute__((vector_size(32)));
typedef double la_d4 __attribute__((vector_size(32)));
typedef float la_f16 __attribute__((vector_size(64)));
typedef double la_d8 __attribute__((vector_size(64)));
#elif (defined(__GNUC__) || defined(__clang__)) && defined(__aarch64__)
#define LA_HAVE_NEON 1
#endif

#ifdef LA_HAVE_NEON
enum { LA_ARM = 1 };
#else
enum { LA_ARM = 0 };
#endif

/* 16-byte vectors, which every 64-bit processor has */
typedef float la_f4 __attribute__((vector_size(16)));
typedef double la_d2 __attribute__((vector_size(16)));

/* The best of them on this processor. */
static int la_detect(void)
{
#ifdef LA_HAVE_TILES
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return LA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return LA_AVX2;
#endif
#ifdef LA_HAVE_NEON
    return LA_NEON;
#endif
    return LA_BASE;
}

#endif
