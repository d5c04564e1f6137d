#include "csv.h"

#include <stdlib.h>
#include <string.h>

static bool add(struct csv_row *row, size_t at, size_t len, struct failure *why) {
  if (row->count == row->room) {
    size_t room = row->room == 0 ? 32 : row->room * 2;
    struct cell *cells = realloc(row->cells, room * sizeof *cells);
    if (cells == NULL) {
      return fail(why, KIND_TRANSIENT, "There is no memory for the file; try again later.");
    }
    row->cells = cells;
    row->room = room;
  }
  row->cells[row->count].at = (uint32_t)at;
  row->cells[row->count].len = (uint32_t)len;
  row->count++;
  return true;
}

/* Reads a quoted cell; the reader is after its opening quote. */
static bool quoted(struct csv_reader *reader, size_t *at, size_t *len, struct failure *why) {
  size_t begun = reader->line, to = reader->at;
  *at = to;
  while (reader->at < reader->len) {
    char c = reader->bytes[reader->at++];
    if (c == '"') {
      if (reader->at < reader->len && reader->bytes[reader->at] == '"') {
        reader->at++;
      } else {
        *len = to - *at;
        return true;
      }
    }
    reader->line += c == '\n';
    reader->bytes[to++] = c;
  }
  return fail(why, KIND_ADMIN_ACTION, "A quote of the file is opened in line %zu and never closed: close it.", begun);
}

/* Reads a cell without quotes, which ends before a separator or the end of the line. */
static void plain(struct csv_reader *reader, size_t *at, size_t *len) {
  *at = reader->at;
  while (reader->at < reader->len && reader->bytes[reader->at] != reader->separator &&
         reader->bytes[reader->at] != '\n') {
    reader->at++;
  }
  *len = reader->at - *at;
  bool line_ends = reader->at == reader->len || reader->bytes[reader->at] == '\n';
  if (line_ends && *len > 0 && reader->bytes[reader->at - 1] == '\r') {
    --*len;
  }
}

/* Skips the separator or line end after a cell; returns 1 before another cell, 0 at the end of the row, -1 on an
   error. */
static int follow(struct csv_reader *reader) {
  if (reader->at < reader->len && reader->bytes[reader->at] == reader->separator) {
    reader->at++;
    return 1;
  }
  if (reader->at + 1 < reader->len && reader->bytes[reader->at] == '\r' && reader->bytes[reader->at + 1] == '\n') {
    reader->at++;
  }
  if (reader->at == reader->len) {
    return 0;
  }
  if (reader->bytes[reader->at] == '\n') {
    reader->at++;
    reader->line++;
    return 0;
  }
  return -1;
}

int csv_next(struct csv_reader *reader, struct csv_row *row, struct failure *why) {
  while (reader->at < reader->len) {
    row->count = 0;
    row->line = reader->line;
    int more;
    do {
      size_t at = 0, len = 0;
      if (reader->at < reader->len && reader->bytes[reader->at] == '"') {
        reader->at++;
        if (!quoted(reader, &at, &len, why)) {
          return -1;
        }
      } else {
        plain(reader, &at, &len);
      }
      more = follow(reader);
      if (more < 0) {
        fail(why, KIND_ADMIN_ACTION, "Line %zu of the file has text behind a closing quote: double the quotes inside.",
             reader->line);
        return -1;
      }
      if (!add(row, at, len, why)) {
        return -1;
      }
    } while (more == 1);
    if (row->count > 1 || row->cells[0].len > 0) {
      return 1;
    }
  }
  return 0;
}
