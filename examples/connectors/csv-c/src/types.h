/* What type a column has: a word behind its name, or a guess from its cells. */
#ifndef TYPES_H
#define TYPES_H

#include "bytes.h"

/* The word of a type in a header cell, `employees:integer`; null for a type that has none. */
const char *type_word(int type);
/* The type of a word; 0 where it is none. */
int type_of_word(struct text word);

/* A guess in the making. */
struct guess {
  unsigned possible;
  bool any;
};
void guess_begin(struct guess *guess);
void guess_cell(struct guess *guess, struct text cell);
/* The narrowest type that every cell has without doubt; TEXT where there is any. */
int guess_end(const struct guess *guess);

#endif
