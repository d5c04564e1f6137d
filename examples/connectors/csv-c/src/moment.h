/* Dates and times: from the forms that files have to the one form of a payload. */
#ifndef MOMENT_H
#define MOMENT_H

#include "bytes.h"

/* The day that a text begins with, in days since the epoch. */
bool date_read(struct text text, int64_t *days);
/* A moment: a day, `T` or a blank, a time, and `Z`, an offset or nothing for UTC. */
bool timestamp_read(struct text text, int64_t *unix_ms);
/* Appends a cell as a DATE, TIMESTAMP or TIME in quotes; false where it is none. */
bool moment_write(struct bytes *out, int type, struct text cell);

#endif
