/* The operator's settings: the files, and the keys that may read them. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "bytes.h"
#include "contract.h"

/* The settings of OpenRequest: `file`, `contacts_file`, and one of `api_key` and `keys_file`. */
struct options {
  char *file;
  /* Null if there are no contacts. */
  char *contacts_file;
  /* A single key with the name `default`; or null. */
  char *api_key;
  /* The path of a file of keys, with a name, white space and a key on each line; or null. It is read for each call,
     so a removed key is invalid at once. */
  char *keys_file;
};

/* Reads and checks an OpenRequest, without access to the files. */
bool options_read(struct options *options, struct text request, struct failure *why);
/* Overwrites the key and frees the rest. */
void options_free(struct options *options);

#define KEY_NAME_ROOM 65

/* Whether a key is valid; if so, sets its name. */
bool options_check_key(const struct options *options, struct text key, char name[KEY_NAME_ROOM], struct failure *why);

#endif
