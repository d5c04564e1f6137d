/* Sends rows of an object that was not requested. */
#define BATCH_OBJECT "Secrets"
#include "base.h"
#include "entry.h"
