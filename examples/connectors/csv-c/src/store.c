#define _POSIX_C_SOURCE 200809L
#include "store.h"

#include <string.h>

void store_begin(struct store *store, const struct options *options) {
  memset(store, 0, sizeof *store);
  pthread_mutex_init(&store->lock, NULL);
  store->options = options;
}

void store_end(struct store *store) {
  for (size_t i = 0; i < 2; i++) {
    store_give_back(store, store->kept[i].table);
  }
  pthread_mutex_destroy(&store->lock);
}

void store_give_back(struct store *store, struct table *table) {
  if (table != NULL) {
    pthread_mutex_lock(&store->lock);
    bool last = --table->references == 0;
    pthread_mutex_unlock(&store->lock);
    if (last) {
      table_free(table);
    }
  }
}

static bool same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
         a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
         a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

struct table *store_get(struct store *store, bool contacts, char separator, struct stop stop, struct failure *why) {
  const char *path = contacts ? store->options->contacts_file : store->options->file;
  if (path == NULL) {
    fail(why, KIND_OBJECT_GONE, "There are no contacts: the operator has named no contacts_file.");
    return NULL;
  }
  struct kept *kept = &store->kept[contacts];
  struct stat now;
  memset(&now, 0, sizeof now);
  /* If this fails, reading returns the error. Called before reading: a concurrent change is then detected the next
     time. */
  bool is_there = stat(path, &now) == 0;
  pthread_mutex_lock(&store->lock);
  struct table *table = NULL;
  if (is_there && kept->table != NULL && kept->separator == separator && same_file(&kept->file, &now)) {
    table = kept->table;
    table->references++;
  }
  pthread_mutex_unlock(&store->lock);
  if (table != NULL) {
    return table;
  }
  table = table_read(path, separator, contacts, stop, why);
  if (table == NULL || !is_there) {
    return table;
  }
  pthread_mutex_lock(&store->lock);
  struct table *old = kept->table;
  kept->table = table;
  kept->separator = separator;
  kept->file = now;
  table->references++;
  pthread_mutex_unlock(&store->lock);
  store_give_back(store, old);
  return table;
}
