/* A CSV file in memory: its columns with their types, its rows in the order of their ids. */
#ifndef TABLE_H
#define TABLE_H

#include "csv.h"

#define TABLE_MOST_BYTES (64u << 20)
#define TABLE_MOST_CELLS (8u << 20)
#define NO_COLUMN SIZE_MAX

struct column {
  struct text key;
  int type;
};

/* Immutable after reading; every user holds a reference. */
struct table {
  size_t references;
  char *bytes;
  struct column *columns;
  size_t column_count;
  struct cell *cells;
  size_t row_count;
  /* Rows by id, and by company and id. */
  uint32_t *by_id;
  uint32_t *by_company;
  size_t id;
  size_t name;
  size_t homepage;
  size_t company;
  /* A hash of the bytes of the file, which differs for other contents. */
  uint64_t identity;
};

/* Whether work should stop; called once per some thousand rows. */
struct stop {
  bool (*asked)(void *of, struct failure *why);
  void *of;
};

/* Reads a file. Contacts need a column company_id, companies do not. Null if it cannot be read, with the failure. */
struct table *table_read(const char *path, char separator, bool contacts, struct stop stop, struct failure *why);
void table_free(struct table *table);

/* The cell of a row. */
struct text table_cell(const struct table *table, size_t row, size_t column);
/* The index of a column; NO_COLUMN if there is none. */
size_t table_column(const struct table *table, struct text key);
/* The index of a record in by_id; false if there is none. */
bool table_find(const struct table *table, struct text id, size_t *place);
/* The first index in by_company that is not before this company. */
size_t table_company(const struct table *table, struct text company);

#endif
