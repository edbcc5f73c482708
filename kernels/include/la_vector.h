/* Vectors of every pair of element type and instruction set: loads and stores at any address, and the sum of the lanes. */
#ifndef LA_VECTOR_H
#define LA_VECTOR_H

#include "la_targets.h"

#define LA_BODY "la_vector.inc.h"
#include "la_each.h"

#endif
