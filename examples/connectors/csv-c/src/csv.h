/* CSV as in RFC 4180: cells may be quoted, quotes are doubled inside, lines end with CRLF or LF. */
#ifndef CSV_H
#define CSV_H

#include "bytes.h"
#include "contract.h"

/* One cell: where it is in the bytes that were read. */
struct cell {
  uint32_t at;
  uint32_t len;
};

/* A row in the making; cells is reused from row to row. */
struct csv_row {
  struct cell *cells;
  size_t count;
  size_t room;
  /* Where it begins in the file, from 1. */
  size_t line;
};

/* A file being read. Quoted cells are unquoted in place, so the bytes must be the reader's own. */
struct csv_reader {
  char *bytes;
  size_t len;
  size_t at;
  size_t line;
  char separator;
};

/* The next row that is not blank. Answers 1 for a row, 0 at the end, -1 where it is no CSV. */
int csv_next(struct csv_reader *reader, struct csv_row *row, struct failure *why);

#endif
