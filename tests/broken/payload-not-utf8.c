/* A row is not UTF-8. */
#define PAYLOAD "{\"Name\":\"\xff\"}"
#include "base.h"
#include "entry.h"
