/* The type of a column: declared after its name, or inferred from its cells. */
#ifndef TYPES_H
#define TYPES_H

#include "bytes.h"

/* The name of a type in header cells, as in `employees:integer`; null for a type without a name. */
const char *type_word(int type);
/* The type with this name; 0 if there is none. */
int type_of_word(struct text word);

/* The state of the inference. */
struct guess {
  unsigned possible;
  bool any;
};
void guess_begin(struct guess *guess);
void guess_cell(struct guess *guess, struct text cell);
/* The narrowest type whose form every cell has; TEXT if there is none. */
int guess_end(const struct guess *guess);

#endif
