/* Cells as typed values: the canonical JSON of a payload. */
#ifndef VALUE_H
#define VALUE_H

#include "bytes.h"

/* Appends a JSON string; NUL is left out. */
void json_string(struct bytes *out, struct text text);
/* Appends a cell as a value of this type in Record.payload; a cell that does not fit the type is written as
   {"raw":…}. */
void json_value(struct bytes *out, int type, struct text cell);

#endif
