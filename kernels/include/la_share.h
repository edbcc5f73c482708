/* Equal shares of the lines of a product, for threads. */
#ifndef LA_SHARE_H
#define LA_SHARE_H

/* Where a part of some lines begins, of `parts` equal shares. */
static int la_share(int lines, int part, int parts)
{
    return (int)((long long)lines * part / parts);
}

#endif
