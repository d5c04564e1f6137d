/* The current files. A file is read again only if it has changed; users of the old table keep it until they release
   it. */
#ifndef STORE_H
#define STORE_H

#include <pthread.h>
#include <sys/stat.h>

#include "options.h"
#include "table.h"

/* A table and the file that it was read from. */
struct kept {
  struct table *table;
  char separator;
  struct stat file;
};

struct store {
  pthread_mutex_t lock;
  const struct options *options;
  /* Companies and contacts. */
  struct kept kept[2];
};

void store_begin(struct store *store, const struct options *options);
void store_end(struct store *store);
/* The table of a file, which the caller must release; null with the failure. OBJECT_GONE if no file of contacts is
   set. */
struct table *store_get(struct store *store, bool contacts, char separator, struct stop stop, struct failure *why);
void store_give_back(struct store *store, struct table *table);

#endif
