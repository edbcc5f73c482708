/* What one inclusion of a body defined. */
#undef T
#undef V
#undef LANES
#undef WIDE
#undef FN
