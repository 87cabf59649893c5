/* The table of one variant, from the two lists. */
#include "ops/vec.h"

#define HOT(name) extern PB_OP(name);
#define OP(name) extern const pb_op PB_COLD(pb_op_##name);
#include "ops/ops.def"
#undef HOT
#undef OP
#define HOT(name) extern PB_OPTIM(name);
#define OPTIM(name) extern const pb_optim PB_COLD(pb_optim_##name);
#include "optim/optim.def"
#undef HOT
#undef OPTIM

#define HOT(name) &PB_NAME(pb_op_##name),
#define OP(name) &PB_COLD(pb_op_##name),
static const pb_op *const ops[] = {
#include "ops/ops.def"
    NULL};
#undef HOT
#define HOT(name) &PB_NAME(pb_optim_##name),
#define OPTIM(name) &PB_COLD(pb_optim_##name),
static const pb_optim *const optims[] = {
#include "optim/optim.def"
    NULL};

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

#define STEP(name, operands) #name ":" #operands " "
#define OF_OP STEP
#define OWN STEP
#define FLAT STEP
static const char steps[] = "constant:0 "
#include "ops/steps.def"
    ;

extern const pb_vector PB_NAME(pb_vector);
extern const pb_table PB_NAME(pb_table);
const pb_table PB_NAME(pb_table) = {.isa = TEXT(PB_ISA),
                                    .real_size = sizeof(real),
                                    .lanes = LANES,
                                    .steps = steps,
                                    .ops = ops,
                                    .optims = optims,
                                    .vector = &PB_NAME(pb_vector)};
