/* Dates and times: converts the forms in files to the form of a payload. */
#ifndef MOMENT_H
#define MOMENT_H

#include "bytes.h"

/* The day at the beginning of a text, in days since the epoch. */
bool date_read(struct text text, int64_t *days);
/* A timestamp: a day, `T` or a blank, a time, and `Z`, an offset, or nothing for UTC. */
bool timestamp_read(struct text text, int64_t *unix_ms);
/* Appends a cell as a DATE, TIMESTAMP or TIME in quotes; returns false if the cell is not one. */
bool moment_write(struct bytes *out, int type, struct text cell);

#endif
