/* The files as they are now. A file is read again only when it has changed; who has an old one keeps it. */
#ifndef STORE_H
#define STORE_H

#include <pthread.h>
#include <sys/stat.h>

#include "options.h"
#include "table.h"

/* A table and the file it was read from. */
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
/* A file's table, to be given back; null with the reason. Contacts that the operator has none of are OBJECT_GONE. */
struct table *store_get(struct store *store, bool contacts, char separator, struct stop stop, struct failure *why);
void store_give_back(struct store *store, struct table *table);

#endif
