/* A row is not JSON. */
#define PAYLOAD "{\"Name\":"
#include "base.h"
#include "entry.h"
