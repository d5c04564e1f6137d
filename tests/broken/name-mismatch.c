/* Calls itself something else than its manifest does. */
#define DESCRIBED_NAME "another"
#include "base.h"
#include "entry.h"
