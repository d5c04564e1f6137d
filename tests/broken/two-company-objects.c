/* Describes two objects with the role COMPANY. */
#define ROLE_OF_PEOPLE 1
#include "base.h"
#include "entry.h"
