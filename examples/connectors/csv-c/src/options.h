/* What the operator says: the files, and the keys that may read them. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "bytes.h"
#include "contract.h"

/* The settings of OpenRequest: `file`, `contacts_file`, and one of `api_key` and `keys_file`. */
struct options {
  char *file;
  /* Null where there are no contacts. */
  char *contacts_file;
  /* One key, named `default`; or null. */
  char *api_key;
  /* A file of keys: lines of a name, white space and a key; or null. Read at each call, so that what is taken out of it
     is out at once. */
  char *keys_file;
};

/* Reads and checks an OpenRequest; nothing of the files is touched. */
bool options_read(struct options *options, struct text request, struct failure *why);
/* Wipes the key, frees the rest. */
void options_free(struct options *options);

#define KEY_NAME_ROOM 65

/* Whether a key may read; if so, what it is called. */
bool options_check_key(const struct options *options, struct text key, char name[KEY_NAME_ROOM], struct failure *why);

#endif
