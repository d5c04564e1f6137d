/* The numbers of connector.proto that this connector uses. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "bytes.h"

/* CallRequest.call; the answer in CallResponse has the same number, except for LogIn. */
enum {
  CALL_DESCRIBE = 2,
  CALL_BEGIN_AUTHORIZATION = 3,
  CALL_EXCHANGE_CODE = 4,
  CALL_LOG_IN = 5,
  CALL_REFRESH = 6,
  CALL_REVOKE = 7,
  CALL_LIST_FIELDS = 8,
  CALL_COUNT_RECORDS = 9,
  CALL_FETCH_COMPANY = 10,
  CALL_READ = 11,
  CALL_PROVIDE_CREDENTIALS = 12,
};
enum { RESPONSE_ERROR = 1, RESPONSE_LOGGED_IN = 4 };

/* StreamEvent.event. */
enum {
  EVENT_BATCH = 1,
  EVENT_CHECKPOINT = 2,
  EVENT_FIELD_CHANGE = 3,
  EVENT_OBJECT_STATUS = 4,
  EVENT_PROGRESS = 5,
  EVENT_END = 8,
  EVENT_ERROR = 9,
};

enum { ROLE_COMPANY = 1, ROLE_CONTACT = 2 };
enum { AUTH_API_KEY = 4 };
enum { FIELD_MISSING = 1, FIELD_TYPE_CHANGED = 2 };

/* FieldType. */
enum {
  TYPE_TEXT = 1,
  TYPE_PICKLIST = 2,
  TYPE_BOOLEAN = 4,
  TYPE_INTEGER = 5,
  TYPE_DECIMAL = 6,
  TYPE_CURRENCY = 7,
  TYPE_PERCENT = 8,
  TYPE_DATE = 9,
  TYPE_TIMESTAMP = 10,
  TYPE_TIME = 11,
  TYPE_URL = 12,
  TYPE_EMAIL = 13,
  TYPE_PHONE = 14,
  /* This connector never returns it; a host may request it. */
  TYPE_HTML = 18,
};

/* ErrorKind. */
enum {
  KIND_CREDENTIALS_REVOKED = 2,
  KIND_ADMIN_ACTION = 4,
  KIND_OBJECT_GONE = 7,
  KIND_TRANSIENT = 13,
  KIND_INVALID_INPUT = 14,
  KIND_CONFIGURATION = 15,
  KIND_CANCELLED = 16,
  KIND_DEADLINE_EXCEEDED = 17,
  KIND_UNSUPPORTED = 18,
  KIND_BUG = 19,
};

/* A failure, before it is written as an Error. */
struct failure {
  int kind;
  char message[300];
  /* The object or field concerned, or empty. */
  char object[32];
  char field[64];
};

/* Sets a failure; returns false, for `return fail(…)`. The message is a sentence for the integration's owner, without
   secrets. */
bool fail(struct failure *why, int kind, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* Writes a failure as an Error. */
void failure_write_plain(struct bytes *out, const struct failure *why);
/* Writes a failure as an Error in this field. */
void failure_write(struct bytes *out, uint32_t field, const struct failure *why);

#endif
