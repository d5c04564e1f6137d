/* A row has no payload. */
#define PAYLOAD ""
#include "base.h"
#include "entry.h"
