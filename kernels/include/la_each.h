/* Includes LA_BODY once for each element type and instruction set, with
 *   T       element type
 *   V       GNU vector of LANES elements of T
 *   LANES   elements a vector
 *   WIDE    whether there are 32 vector registers
 *   FN(x)   the name of function x for this pair
 *   LOAD(p), STORE(p, v)   of a vector at any address (la_vector.h)
 * The includer defines LA_BODY, and LA_NO_BASE if the baseline has no such functions; NEON is the baseline where it is. No include guard: included often.
 */
#define LOAD(p) (*(const FN(unaligned) *)(p))
#define STORE(p, v) (*(FN(unaligned) *)(p) = (v))

#if !defined(LA_NO_BASE) || defined(LA_HAVE_NEON)
#ifdef LA_HAVE_NEON
#define LA_BASE_WIDE 1
#else
#define LA_BASE_WIDE 0
#endif
/* baseline: 16-byte vectors, which every 64-bit processor has */
#define T float
#define V la_f4
#define LANES 4
#define WIDE LA_BASE_WIDE
#define FN(x) la_f_base_##x
#include LA_BODY
#include "la_undo.h"
#define T double
#define V la_d2
#define LANES 2
#define WIDE LA_BASE_WIDE
#define FN(x) la_d_base_##x
#include LA_BODY
#include "la_undo.h"
#undef LA_BASE_WIDE
#endif

#ifdef LA_HAVE_TILES
LA_PUSH_V3
#define T float
#define V la_f8
#define LANES 8
#define WIDE 0
#define FN(x) la_f_v3_##x
#include LA_BODY
#include "la_undo.h"
#define T double
#define V la_d4
#define LANES 4
#define WIDE 0
#define FN(x) la_d_v3_##x
#include LA_BODY
#include "la_undo.h"
LA_POP
LA_PUSH_V4
#define T float
#define V la_f16
#define LANES 16
#define WIDE 1
#define FN(x) la_f_v4_##x
#include LA_BODY
#include "la_undo.h"
#define T double
#define V la_d8
#define LANES 8
#define WIDE 1
#define FN(x) la_d_v4_##x
#include LA_BODY
#include "la_undo.h"
LA_POP
#endif

#undef LOAD
#undef STORE
#undef LA_BODY
#undef LA_NO_BASE
