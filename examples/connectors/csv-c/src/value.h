/* Cells as typed values: the canonical JSON of a payload, and what type a column has. */
#ifndef VALUE_H
#define VALUE_H

#include "bytes.h"

/* Appends a JSON string; NUL is left out. */
void json_string(struct bytes *out, struct text text);
/* Appends a cell as the contract's Record.payload writes a value of this type; what does not fit it as {"raw":…}. */
void json_value(struct bytes *out, int type, struct text cell);

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
