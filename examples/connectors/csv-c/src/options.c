#define _POSIX_C_SOURCE 200809L
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pb.h"

/* OpenRequest.settings. */
#define SETTINGS 3
#define LEAST_KEY_BYTES 16
#define MOST_KEYS_BYTES (64 << 10)

/* A memset that the compiler does not optimise away. */
static void wipe(void *data, size_t len) {
  volatile uint8_t *bytes = data;
  for (size_t i = 0; i < len; i++) {
    bytes[i] = 0;
  }
}

static bool setting(char **into, struct text request, const char *key, struct failure *why) {
  struct text value = pb_map_get(request, SETTINGS, key);
  if (value.len > 0) {
    *into = text_copy(value);
    if (*into == NULL) {
      return fail(why, KIND_TRANSIENT, "There is no memory for the settings; try again later.");
    }
    if (strlen(*into) != value.len) {
      return fail(why, KIND_CONFIGURATION, "The setting %s holds a NUL.", key);
    }
  }
  return true;
}

static bool is_path(const char *path, const char *key, struct failure *why) {
  if (path != NULL && path[0] != '/') {
    return fail(why, KIND_CONFIGURATION, "The setting %s must be a whole path, from / on.", key);
  }
  return true;
}

bool options_read(struct options *options, struct text request, struct failure *why) {
  memset(options, 0, sizeof *options);
  if (!pb_is_message(request)) {
    return fail(why, KIND_BUG, "The host's request is no message.");
  }
  if (!setting(&options->file, request, "file", why) ||
      !setting(&options->contacts_file, request, "contacts_file", why) ||
      !setting(&options->api_key, request, "api_key", why) ||
      !setting(&options->keys_file, request, "keys_file", why)) {
    return false;
  }
  if (options->file == NULL) {
    return fail(why, KIND_CONFIGURATION, "The setting file is missing: it names the CSV file of companies.");
  }
  if (!is_path(options->file, "file", why) || !is_path(options->contacts_file, "contacts_file", why) ||
      !is_path(options->keys_file, "keys_file", why)) {
    return false;
  }
  if ((options->api_key == NULL) == (options->keys_file == NULL)) {
    return fail(why, KIND_CONFIGURATION, "One of the settings api_key and keys_file is needed, and not both.");
  }
  if (options->api_key != NULL && strlen(options->api_key) < LEAST_KEY_BYTES) {
    return fail(why, KIND_CONFIGURATION, "The setting api_key is shorter than %d characters.", LEAST_KEY_BYTES);
  }
  return true;
}

void options_free(struct options *options) {
  if (options->api_key != NULL) {
    wipe(options->api_key, strlen(options->api_key));
  }
  free(options->file);
  free(options->contacts_file);
  free(options->api_key);
  free(options->keys_file);
  memset(options, 0, sizeof *options);
}

/* Compares in a time that does not depend on the first difference. */
static bool same_key(struct text a, struct text b) {
  uint8_t different = a.len != b.len;
  for (size_t i = 0; i < a.len && i < b.len; i++) {
    different |= (uint8_t)(a.data[i] ^ b.data[i]);
  }
  return different == 0;
}

/* The next word of a line. */
static struct text word(struct text *line) {
  struct text rest = text_trim(*line), found = rest;
  found.len = 0;
  while (found.len < rest.len && rest.data[found.len] != ' ' && rest.data[found.len] != '\t') {
    found.len++;
  }
  line->data = rest.data + found.len;
  line->len = rest.len - found.len;
  return found;
}

static bool find_key(struct text lines, struct text key, char name[KEY_NAME_ROOM]) {
  bool found = false;
  while (lines.len > 0) {
    const char *end = memchr(lines.data, '\n', lines.len);
    struct text line = {lines.data, end == NULL ? lines.len : (size_t)(end - lines.data)};
    size_t step = line.len + (end != NULL);
    lines.data += step;
    lines.len -= step;
    struct text called = word(&line), listed = word(&line);
    if (called.len == 0 || called.data[0] == '#' || called.len >= KEY_NAME_ROOM || listed.len < LEAST_KEY_BYTES) {
      continue;
    }
    /* Reads all lines, so that the time does not depend on the line that matches. */
    if (same_key(listed, key) && !found) {
      memcpy(name, called.data, called.len);
      name[called.len] = '\0';
      found = true;
    }
  }
  return found;
}

static bool in_keys_file(const char *path, struct text key, char name[KEY_NAME_ROOM], bool *found,
                         struct failure *why) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    int kind = errno == ENOENT || errno == EACCES ? KIND_CONFIGURATION : KIND_TRANSIENT;
    return fail(why, kind, "The operator's keys_file cannot be opened: %s.", strerror(errno));
  }
  char *bytes = malloc(MOST_KEYS_BYTES);
  size_t len = 0;
  ssize_t got = bytes == NULL ? -1 : 1;
  while (got > 0 && len < MOST_KEYS_BYTES) {
    got = read(file, bytes + len, MOST_KEYS_BYTES - len);
    len += got > 0 ? (size_t)got : 0;
  }
  close(file);
  bool read_well = got == 0;
  if (read_well) {
    struct text lines = {bytes, len};
    *found = find_key(lines, key, name);
  } else if (got > 0) {
    fail(why, KIND_CONFIGURATION, "The operator's keys_file is larger than 64 KiB.");
  } else {
    fail(why, KIND_TRANSIENT, "The operator's keys_file cannot be read; try again later.");
  }
  if (bytes != NULL) {
    wipe(bytes, len);
    free(bytes);
  }
  return read_well;
}

bool options_check_key(const struct options *options, struct text key, char name[KEY_NAME_ROOM], struct failure *why) {
  bool found = false;
  if (options->api_key != NULL) {
    found = same_key(text_of(options->api_key), key);
    strcpy(name, "default");
  } else if (!in_keys_file(options->keys_file, key, name, &found, why)) {
    return false;
  }
  return found || fail(why, KIND_CREDENTIALS_REVOKED, "The API key is not among those that the operator accepts.");
}
