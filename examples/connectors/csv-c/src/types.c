#include "types.h"

#include <string.h>

#include "contract.h"
#include "moment.h"

static const struct {
  const char *word;
  int type;
} words[] = {
    {"text", TYPE_TEXT},         {"picklist", TYPE_PICKLIST}, {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER},
    {"decimal", TYPE_DECIMAL},   {"currency", TYPE_CURRENCY}, {"percent", TYPE_PERCENT}, {"date", TYPE_DATE},
    {"timestamp", TYPE_TIMESTAMP}, {"time", TYPE_TIME},       {"url", TYPE_URL},         {"email", TYPE_EMAIL},
    {"phone", TYPE_PHONE},
};

const char *type_word(int type) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (words[i].type == type) {
      return words[i].word;
    }
  }
  return NULL;
}

int type_of_word(struct text word) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (text_is(word, text_of(words[i].word))) {
      return words[i].type;
    }
  }
  return 0;
}

/* From the narrowest to the widest; TEXT if no other fits. */
static const int guesses[] = {TYPE_BOOLEAN,   TYPE_INTEGER, TYPE_DECIMAL, TYPE_DATE,
                              TYPE_TIMESTAMP, TYPE_URL,     TYPE_EMAIL};

/* A plain number. Leading zeros indicate a code (007, a postal code), a plus sign a telephone number. */
static bool is_number(struct text cell, bool with_point) {
  size_t at = cell.len > 0 && cell.data[0] == '-' ? 1 : 0, whole = text_digits(cell, at);
  if (whole == 0 || whole > 15 || (whole > 1 && cell.data[at] == '0')) {
    return false;
  }
  at += whole;
  if (with_point && at < cell.len && cell.data[at] == '.') {
    size_t fraction = text_digits(cell, at + 1);
    return fraction > 0 && fraction <= 15 && at + 1 + fraction == cell.len;
  }
  return at == cell.len;
}

static bool is_url(struct text cell) {
  return (cell.len > 8 && memcmp(cell.data, "https://", 8) == 0) ||
         (cell.len > 7 && memcmp(cell.data, "http://", 7) == 0);
}

static bool is_email(struct text cell) {
  size_t at = 0, point = 0;
  for (size_t i = 0; i < cell.len; i++) {
    char c = cell.data[i];
    if (c == ' ' || (c == '@' && (at != 0 || i == 0))) {
      return false;
    }
    at = c == '@' ? i : at;
    point = c == '.' ? i : point;
  }
  return at != 0 && point > at + 1 && point + 1 < cell.len;
}

static bool is_of(int type, struct text cell) {
  int64_t value;
  switch (type) {
  case TYPE_BOOLEAN:
    return text_is_nocase(cell, text_of("true")) || text_is_nocase(cell, text_of("false"));
  case TYPE_INTEGER:
    return is_number(cell, false);
  case TYPE_DECIMAL:
    return is_number(cell, true);
  case TYPE_DATE:
    return cell.len == 10 && date_read(cell, &value);
  case TYPE_TIMESTAMP:
    return text_at(cell, 10, "T") && timestamp_read(cell, &value);
  case TYPE_URL:
    return is_url(cell);
  default:
    return is_email(cell);
  }
}

void guess_begin(struct guess *guess) {
  guess->possible = (1u << (sizeof guesses / sizeof *guesses)) - 1;
  guess->any = false;
}

void guess_cell(struct guess *guess, struct text cell) {
  if (cell.len == 0 || guess->possible == 0) {
    return;
  }
  guess->any = true;
  for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++) {
    if ((guess->possible & 1u << i) != 0 && !is_of(guesses[i], cell)) {
      guess->possible &= ~(1u << i);
    }
  }
}

int guess_end(const struct guess *guess) {
  for (size_t i = 0; guess->any && i < sizeof guesses / sizeof *guesses; i++) {
    if ((guess->possible & 1u << i) != 0) {
      return guesses[i];
    }
  }
  return TYPE_TEXT;
}
