#define _POSIX_C_SOURCE 200809L
#include "table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "types.h"

/* The host rejects longer ids. */
#define MOST_ID_BYTES 255
#define STOP_EVERY 4096

static bool no_memory(struct failure *why) {
  return fail(why, KIND_TRANSIENT, "There is no memory for the file; try again later.");
}

/* Reads the whole file, unless it is being written meanwhile. */
static bool read_file(const char *path, struct table *table, size_t *len, struct failure *why) {
  const char *name = strrchr(path, '/');
  name = name == NULL ? path : name + 1;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    int kind = errno == ENOENT || errno == EACCES ? KIND_ADMIN_ACTION : KIND_TRANSIENT;
    return fail(why, kind, "The file %s cannot be opened: %s.", name, strerror(errno));
  }
  struct stat before, after;
  bool done = false;
  if (fstat(file, &before) != 0 || !S_ISREG(before.st_mode)) {
    fail(why, KIND_ADMIN_ACTION, "%s is no file.", name);
  } else if (before.st_size > (off_t)TABLE_MOST_BYTES) {
    fail(why, KIND_ADMIN_ACTION, "The file %s is larger than 64 MiB, the most that this connector reads: split it.", name);
  } else {
    size_t size = (size_t)before.st_size, at = 0;
    ssize_t got = 1;
    table->bytes = malloc(size + 1);
    while (table->bytes != NULL && at < size && got > 0) {
      got = read(file, table->bytes + at, size - at);
      at += got > 0 ? (size_t)got : 0;
    }
    if (table->bytes == NULL) {
      no_memory(why);
    } else if (got < 0) {
      fail(why, KIND_TRANSIENT, "The file %s cannot be read: %s.", name, strerror(errno));
    } else if (at < size || fstat(file, &after) != 0 || after.st_size != before.st_size ||
               after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec) {
      fail(why, KIND_TRANSIENT, "The file %s is being written: replace it by renaming a new one over it.", name);
    } else {
      *len = size;
      done = true;
    }
  }
  close(file);
  return done;
}

/* FNV-1a: detects changed contents; it is not a protection against attacks. */
static uint64_t identity_of(const char *bytes, size_t len) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < len; i++) {
    hash = (hash ^ (uint8_t)bytes[i]) * UINT64_C(0x100000001b3);
  }
  return hash;
}

/* A header cell is `key` or `key:type`. */
static bool header(struct table *table, const struct csv_row *row, struct failure *why) {
  table->column_count = row->count;
  table->columns = calloc(row->count, sizeof *table->columns);
  if (table->columns == NULL) {
    return no_memory(why);
  }
  for (size_t i = 0; i < row->count; i++) {
    struct text key = {table->bytes + row->cells[i].at, row->cells[i].len};
    key = text_trim(key);
    for (size_t at = key.len; at-- > 0;) {
      if (key.data[at] == ':') {
        struct text word = {key.data + at + 1, key.len - at - 1};
        table->columns[i].type = type_of_word(text_trim(word));
        if (table->columns[i].type != 0) {
          key.len = at;
          key = text_trim(key);
        }
        break;
      }
    }
    if (key.len == 0 || key.len > MOST_ID_BYTES || memchr(key.data, '\0', key.len) != NULL) {
      return fail(why, KIND_ADMIN_ACTION, "Column %zu of the file's first line has no name of 1 to 255 bytes.", i + 1);
    }
    if (table_column(table, key) != NO_COLUMN) {
      return fail(why, KIND_ADMIN_ACTION, "The file's first line names a column twice: column %zu.", i + 1);
    }
    table->columns[i].key = key;
  }
  return true;
}

/* The first column with one of these names, ignoring case. */
static size_t named(const struct table *table, const char *const *names) {
  for (; *names != NULL; names++) {
    for (size_t i = 0; i < table->column_count; i++) {
      if (text_is_nocase(table->columns[i].key, text_of(*names))) {
        return i;
      }
    }
  }
  return NO_COLUMN;
}

static bool roles(struct table *table, bool contacts, struct failure *why) {
  static const char *const id[] = {"id", NULL}, *const name[] = {"name", NULL}, *const company[] = {"company_id", NULL},
                           *const homepage[] = {"website", "homepage", "url", "domain", NULL};
  table->id = named(table, id);
  table->name = named(table, name);
  table->homepage = contacts ? NO_COLUMN : named(table, homepage);
  table->company = contacts ? named(table, company) : NO_COLUMN;
  if (table->id == NO_COLUMN) {
    return fail(why, KIND_ADMIN_ACTION, "The file has no column id: its first line must name one.");
  }
  if (contacts && table->company == NO_COLUMN) {
    return fail(why, KIND_ADMIN_ACTION, "The file of contacts has no column company_id: its first line must name one.");
  }
  table->columns[table->id].type = TYPE_TEXT;
  if (contacts) {
    table->columns[table->company].type = TYPE_TEXT;
  }
  return true;
}

static bool rows(struct table *table, struct csv_reader *reader, struct csv_row *row, struct stop stop,
                 struct failure *why) {
  size_t room = 0, columns = table->column_count;
  struct guess *guesses = calloc(columns, sizeof *guesses);
  if (guesses == NULL) {
    return no_memory(why);
  }
  for (size_t i = 0; i < columns; i++) {
    guess_begin(&guesses[i]);
  }
  int got;
  while ((got = csv_next(reader, row, why)) == 1) {
    bool good = true;
    if (row->count != columns) {
      good = fail(why, KIND_ADMIN_ACTION, "Line %zu of the file has %zu cells, its first line has %zu.", row->line,
                  row->count, columns);
    } else if (row->cells[table->id].len == 0 || row->cells[table->id].len > MOST_ID_BYTES ||
               memchr(table->bytes + row->cells[table->id].at, '\0', row->cells[table->id].len) != NULL) {
      good = fail(why, KIND_ADMIN_ACTION, "Line %zu of the file has no id of 1 to 255 bytes.", row->line);
    } else if ((table->row_count + 1) * columns > TABLE_MOST_CELLS) {
      good = fail(why, KIND_ADMIN_ACTION, "The file has more than 8,388,608 cells, the most that this connector reads.");
    } else if (table->row_count == room) {
      room = room == 0 ? 256 : room * 2;
      struct cell *cells = realloc(table->cells, room * columns * sizeof *cells);
      good = cells != NULL || no_memory(why);
      table->cells = cells != NULL ? cells : table->cells;
    }
    if (good && table->row_count % STOP_EVERY == 0) {
      good = !stop.asked(stop.of, why);
    }
    if (!good) {
      got = -1;
      break;
    }
    memcpy(table->cells + table->row_count * columns, row->cells, columns * sizeof *row->cells);
    for (size_t i = 0; i < columns; i++) {
      guess_cell(&guesses[i], table_cell(table, table->row_count, i));
    }
    table->row_count++;
  }
  for (size_t i = 0; i < columns; i++) {
    if (table->columns[i].type == 0) {
      table->columns[i].type = guess_end(&guesses[i]);
    }
  }
  free(guesses);
  return got == 0;
}

/* Merge sort, because qsort has no context argument. It is stable: rows sorted by id can then be sorted by (company,
   id). */
static void sort(const struct table *table, size_t column, uint32_t *rows, uint32_t *room, size_t count) {
  if (count < 2) {
    return;
  }
  size_t half = count / 2, left = 0, right = half;
  sort(table, column, rows, room, half);
  sort(table, column, rows + half, room, count - half);
  for (size_t i = 0; i < count; i++) {
    bool take_left = right == count || (left < half && text_compare(table_cell(table, rows[left], column),
                                                                    table_cell(table, rows[right], column)) <= 0);
    room[i] = rows[take_left ? left++ : right++];
  }
  memcpy(rows, room, count * sizeof *rows);
}

static bool order(struct table *table, struct failure *why) {
  size_t count = table->row_count;
  table->by_id = calloc(count + 1, sizeof *table->by_id);
  table->by_company = calloc(count + 1, sizeof *table->by_company);
  uint32_t *room = calloc(count + 1, sizeof *room);
  if (table->by_id == NULL || table->by_company == NULL || room == NULL) {
    free(room);
    return no_memory(why);
  }
  for (size_t i = 0; i < count; i++) {
    table->by_id[i] = (uint32_t)i;
  }
  sort(table, table->id, table->by_id, room, count);
  if (table->company != NO_COLUMN) {
    memcpy(table->by_company, table->by_id, count * sizeof *table->by_id);
    sort(table, table->company, table->by_company, room, count);
  }
  free(room);
  for (size_t i = 1; i < count; i++) {
    struct text id = table_cell(table, table->by_id[i], table->id);
    if (text_is(table_cell(table, table->by_id[i - 1], table->id), id)) {
      return fail(why, KIND_ADMIN_ACTION, "The file has an id twice, in its rows %u and %u: ids must differ.",
                  table->by_id[i - 1] + 1, table->by_id[i] + 1);
    }
  }
  return true;
}

static bool parse(struct table *table, size_t len, char separator, bool contacts, struct stop stop,
                  struct failure *why) {
  struct text all = {table->bytes, len};
  size_t bad, line = 1;
  if (!text_is_utf8(all, &bad)) {
    for (size_t i = 0; i < bad; i++) {
      line += table->bytes[i] == '\n';
    }
    return fail(why, KIND_ADMIN_ACTION, "Line %zu of the file is not UTF-8: save it in this encoding.", line);
  }
  table->identity = identity_of(table->bytes, len);
  bool mark = len >= 3 && memcmp(table->bytes, "\xef\xbb\xbf", 3) == 0;
  struct csv_reader reader = {table->bytes, len, mark ? 3 : 0, 1, separator};
  struct csv_row row = {NULL, 0, 0, 0};
  int got = csv_next(&reader, &row, why);
  if (got == 0) {
    fail(why, KIND_ADMIN_ACTION, "The file is empty: its first line must name the columns.");
  }
  bool done = got == 1 && header(table, &row, why) && roles(table, contacts, why) &&
              rows(table, &reader, &row, stop, why) && order(table, why);
  free(row.cells);
  return done;
}

struct table *table_read(const char *path, char separator, bool contacts, struct stop stop, struct failure *why) {
  struct table *table = calloc(1, sizeof *table);
  size_t len;
  if (table == NULL) {
    no_memory(why);
    return NULL;
  }
  table->references = 1;
  if (read_file(path, table, &len, why) && parse(table, len, separator, contacts, stop, why)) {
    return table;
  }
  table_free(table);
  return NULL;
}

void table_free(struct table *table) {
  if (table != NULL) {
    free(table->bytes);
    free(table->columns);
    free(table->cells);
    free(table->by_id);
    free(table->by_company);
    free(table);
  }
}

struct text table_cell(const struct table *table, size_t row, size_t column) {
  struct cell cell = table->cells[row * table->column_count + column];
  struct text text = {table->bytes + cell.at, cell.len};
  return text;
}

size_t table_column(const struct table *table, struct text key) {
  for (size_t i = 0; i < table->column_count; i++) {
    if (table->columns[i].key.data != NULL && text_is(table->columns[i].key, key)) {
      return i;
    }
  }
  return NO_COLUMN;
}

/* The first index of an order whose text is not before this one. */
static size_t first(const struct table *table, const uint32_t *order, size_t column, struct text text) {
  size_t low = 0, high = table->row_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (text_compare(table_cell(table, order[middle], column), text) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

bool table_find(const struct table *table, struct text id, size_t *place) {
  *place = first(table, table->by_id, table->id, id);
  return *place < table->row_count && text_is(table_cell(table, table->by_id[*place], table->id), id);
}

size_t table_company(const struct table *table, struct text company) {
  return first(table, table->by_company, table->company, company);
}
