/* SPDX-License-Identifier: Apache-2.0 */
#include "simulation/world.h"

int main(int argc, char **argv)
{
    return simulation_main(argc, argv, "sim_rounds", false, 3000);
}
