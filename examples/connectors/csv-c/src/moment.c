#include "moment.h"

#include <stdio.h>
#include <string.h>

#include "contract.h"

/* A number of exactly this many digits; -1 if there is none. */
static int fixed(struct text text, size_t at, size_t count) {
  int value = 0;
  for (size_t i = at; i < at + count; i++) {
    if (i >= text.len || !(text.data[i] >= '0' && text.data[i] <= '9')) {
      return -1;
    }
    value = value * 10 + (text.data[i] - '0');
  }
  return value;
}

/* The days since the epoch of a day in the Gregorian calendar (Howard Hinnant's algorithm). */
static int64_t days_of(int64_t year, int month, int day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
  int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void day_of(int64_t days, int64_t *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
  int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
  *day = (int)(of_year - (153 * m + 2) / 5 + 1);
  *month = (int)(m < 10 ? m + 3 : m - 9);
  *year = y + era * 400 + (*month <= 2);
}

/* The day at the beginning of a text. */
bool date_read(struct text text, int64_t *days) {
  int year = fixed(text, 0, 4), month = fixed(text, 5, 2), day = fixed(text, 8, 2);
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > 31 || !text_at(text, 4, "-") || !text_at(text, 7, "-")) {
    return false;
  }
  *days = days_of(year, month, day);
  int64_t same_year;
  int same_month, same_day;
  day_of(*days, &same_year, &same_month, &same_day);
  return same_month == month && same_day == day;
}

/* The time of day at a position, in milliseconds; *at moves to its end. */
static bool time_read(struct text text, size_t *at, int64_t *milliseconds) {
  int hour = fixed(text, *at, 2), minute = fixed(text, *at + 3, 2), second = 0, thousandths = 0;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || !text_at(text, *at + 2, ":")) {
    return false;
  }
  *at += 5;
  if (text_at(text, *at, ":")) {
    second = fixed(text, *at + 1, 2);
    if (second < 0 || second > 59) {
      return false;
    }
    *at += 3;
    if (text_at(text, *at, ".,")) {
      size_t len = text_digits(text, *at + 1);
      if (len == 0) {
        return false;
      }
      for (size_t i = 0; i < 3; i++) {
        thousandths = thousandths * 10 + (i < len ? text.data[*at + 1 + i] - '0' : 0);
      }
      *at += 1 + len;
    }
  }
  *milliseconds = ((int64_t)(hour * 60 + minute) * 60 + second) * 1000 + thousandths;
  return true;
}

/* The offset from UTC, in minutes east, in the rest of a text: `Z`, `+02:00`, `+0200`, `+02`, or nothing. */
static bool zone_read(struct text text, size_t at, int *minutes) {
  *minutes = 0;
  if (at == text.len || (at + 1 == text.len && text_at(text, at, "Zz"))) {
    return true;
  }
  if (!text_at(text, at, "+-")) {
    return false;
  }
  size_t colon = text_at(text, at + 3, ":") ? 1 : 0, len = text.len - at - 1;
  int hours = fixed(text, at + 1, 2), rest = len == 2 ? 0 : fixed(text, at + 3 + colon, 2);
  if ((len != 2 && len != 4 + colon) || hours < 0 || hours > 23 || rest < 0 || rest > 59) {
    return false;
  }
  *minutes = (text.data[at] == '-' ? -1 : 1) * (hours * 60 + rest);
  return true;
}

#define DAY_MS INT64_C(86400000)

bool timestamp_read(struct text text, int64_t *unix_ms) {
  int64_t days, milliseconds;
  int minutes;
  size_t at = 11;
  if (!date_read(text, &days) || !text_at(text, 10, "Tt ") || !time_read(text, &at, &milliseconds) ||
      !zone_read(text, at, &minutes)) {
    return false;
  }
  *unix_ms = days * DAY_MS + milliseconds - (int64_t)minutes * 60000;
  return true;
}

static void date_write(struct bytes *out, int64_t days) {
  int64_t year;
  int month, day;
  char text[40];
  day_of(days, &year, &month, &day);
  snprintf(text, sizeof text, "%04lld-%02d-%02d", (long long)year, month, day);
  bytes_string(out, text);
}

static void time_write(struct bytes *out, int64_t milliseconds) {
  char text[40];
  int seconds = (int)(milliseconds / 1000);
  snprintf(text, sizeof text, "%02d:%02d:%02d.%03d", seconds / 3600, seconds / 60 % 60, seconds % 60,
           (int)(milliseconds % 1000));
  bytes_string(out, text);
}

/* Writes the result in quotes. */
bool moment_write(struct bytes *out, int type, struct text cell) {
  struct text text = text_trim(cell);
  int64_t days, milliseconds;
  size_t at = 0;
  switch (type) {
  case TYPE_DATE:
    if (!date_read(text, &days)) {
      return false;
    }
    if (text.len != 10) {
      /* A timestamp at midnight UTC is also a day. */
      if (!timestamp_read(text, &milliseconds) || milliseconds % DAY_MS != 0) {
        return false;
      }
      days = milliseconds / DAY_MS;
    }
    bytes_byte(out, '"');
    date_write(out, days);
    break;
  case TYPE_TIME:
    if (!time_read(text, &at, &milliseconds) || !(at == text.len || (at + 1 == text.len && text_at(text, at, "Zz")))) {
      return false;
    }
    bytes_byte(out, '"');
    time_write(out, milliseconds);
    break;
  default:
    if (!timestamp_read(text, &milliseconds)) {
      return false;
    }
    days = milliseconds / DAY_MS - (milliseconds % DAY_MS < 0);
    if (days < days_of(1, 1, 1) || days > days_of(9999, 12, 31)) {
      return false;
    }
    bytes_byte(out, '"');
    date_write(out, days);
    bytes_byte(out, 'T');
    time_write(out, milliseconds - days * DAY_MS);
    bytes_byte(out, 'Z');
  }
  bytes_byte(out, '"');
  return true;
}
