#include "bytes.h"

#include <stdlib.h>
#include <string.h>

struct text text_of(const char *string) {
  struct text text = {string, strlen(string)};
  return text;
}

bool text_is(struct text a, struct text b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

bool text_is_nocase(struct text a, struct text b) {
  if (a.len != b.len) {
    return false;
  }
  for (size_t i = 0; i < a.len; i++) {
    if (lower(a.data[i]) != lower(b.data[i])) {
      return false;
    }
  }
  return true;
}

int text_compare(struct text a, struct text b) {
  size_t common = a.len < b.len ? a.len : b.len;
  int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
  if (order != 0) {
    return order;
  }
  return a.len < b.len ? -1 : a.len > b.len;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

struct text text_trim(struct text text) {
  while (text.len > 0 && is_space(text.data[0])) {
    text.data++;
    text.len--;
  }
  while (text.len > 0 && is_space(text.data[text.len - 1])) {
    text.len--;
  }
  return text;
}

bool text_at(struct text text, size_t at, const char *any_of) {
  return at < text.len && text.data[at] != '\0' && strchr(any_of, text.data[at]) != NULL;
}

size_t text_digits(struct text text, size_t at) {
  size_t count = 0;
  while (at + count < text.len && text.data[at + count] >= '0' && text.data[at + count] <= '9') {
    count++;
  }
  return count;
}

bool text_is_utf8(struct text text, size_t *bad) {
  const uint8_t *bytes = (const uint8_t *)text.data;
  size_t at = 0;
  while (at < text.len) {
    uint8_t first = bytes[at];
    if (first < 0x80) {
      at++;
      continue;
    }
    size_t more;
    uint32_t least, value;
    if (first >= 0xc2 && first <= 0xdf) {
      more = 1, least = 0x80, value = first & 0x1fu;
    } else if (first >= 0xe0 && first <= 0xef) {
      more = 2, least = 0x800, value = first & 0x0fu;
    } else if (first >= 0xf0 && first <= 0xf4) {
      more = 3, least = 0x10000, value = first & 0x07u;
    } else {
      *bad = at;
      return false;
    }
    for (size_t i = 1; i <= more; i++) {
      if (at + i >= text.len || (bytes[at + i] & 0xc0) != 0x80) {
        *bad = at;
        return false;
      }
      value = value << 6 | (bytes[at + i] & 0x3fu);
    }
    if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
      *bad = at;
      return false;
    }
    at += more + 1;
  }
  return true;
}

char *text_copy(struct text text) {
  char *copy = malloc(text.len + 1);
  if (copy != NULL) {
    if (text.len > 0) {
      memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
  }
  return copy;
}

static bool reserve(struct bytes *bytes, size_t more) {
  if (bytes->failed || more > SIZE_MAX / 2 - bytes->len) {
    bytes->failed = true;
    return false;
  }
  if (bytes->len + more > bytes->room) {
    size_t room = bytes->room < 64 ? 64 : bytes->room;
    while (room < bytes->len + more) {
      room += room / 2;
    }
    uint8_t *data = realloc(bytes->data, room);
    if (data == NULL) {
      bytes->failed = true;
      return false;
    }
    bytes->data = data;
    bytes->room = room;
  }
  return true;
}

void bytes_put(struct bytes *bytes, const void *data, size_t len) {
  if (len > 0 && reserve(bytes, len)) {
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
  }
}

void bytes_byte(struct bytes *bytes, uint8_t byte) { bytes_put(bytes, &byte, 1); }

void bytes_string(struct bytes *bytes, const char *string) { bytes_put(bytes, string, strlen(string)); }

void bytes_insert(struct bytes *bytes, size_t at, size_t count) {
  if (count > 0 && reserve(bytes, count)) {
    memmove(bytes->data + at + count, bytes->data + at, bytes->len - at);
    bytes->len += count;
  }
}

void bytes_free(struct bytes *bytes) {
  free(bytes->data);
  memset(bytes, 0, sizeof *bytes);
}
