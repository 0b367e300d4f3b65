#!/bin/sh
# The smallest use: the task is in tasks/hello.py. In this directory, start a worker in one terminal
#
#     openqueue dev
#
# and, in another one, enqueue a run by the task's name, wait for it and print its result:

openqueue enqueue hello.greet '{"name": "World"}' --watch
