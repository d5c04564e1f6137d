/* Does not export tether's symbol. */
#define SYMBOL some_function
#include "base.h"
#include "entry.h"
