/* CSV as in RFC 4180: cells may be quoted, quotes inside are doubled, lines end with CRLF or LF. */
#ifndef CSV_H
#define CSV_H

#include "bytes.h"
#include "contract.h"

/* One cell: its position in the bytes of the file. */
struct cell {
  uint32_t at;
  uint32_t len;
};

/* The current row; cells is reused for all rows. */
struct csv_row {
  struct cell *cells;
  size_t count;
  size_t room;
  /* The line at which it begins, from 1. */
  size_t line;
};

/* A reader of a file. It unquotes cells in place, so it must own the bytes. */
struct csv_reader {
  char *bytes;
  size_t len;
  size_t at;
  size_t line;
  char separator;
};

/* Reads the next row that is not blank. Returns 1 for a row, 0 at the end, -1 if the file is not valid CSV. */
int csv_next(struct csv_reader *reader, struct csv_row *row, struct failure *why);

#endif
