/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/task.h"

#include <stdlib.h>

#include "snapd/exchange.h"

void task_list_put(struct task_list *list, struct task *task)
{
    task->next = NULL;
    *(list->last ? &list->last->next : &list->first) = task;
    list->last = task;
}

struct task *task_list_take(struct task_list *list)
{
    struct task *task = list->first;
    if (!task)
        return NULL;
    list->first = task->next;
    if (!list->first)
        list->last = NULL;
    task->next = NULL;
    return task;
}

void task_answer(struct task *task, enum mcomp_status status, const char *text)
{
    free(task->reply);
    task->reply = exchange_answer(task->id, status, text);
}

void inbox_open(struct inbox *inbox, struct ev_loop *loop, void (*wake_cb)(struct ev_loop *, ev_async *, int), void *data)
{
    inbox->loop = loop;
    inbox->list = (struct task_list){0};
    inbox->stop = false;
    pthread_mutex_init(&inbox->lock, NULL);
    ev_async_init(&inbox->wake, wake_cb);
    inbox->wake.data = data;
    ev_async_start(loop, &inbox->wake);
}

void inbox_close(struct inbox *inbox)
{
    for (struct task *task; (task = task_list_take(&inbox->list));) {
        free(task->reply);
        free(task);
    }
    ev_async_stop(inbox->loop, &inbox->wake);
    pthread_mutex_destroy(&inbox->lock);
}

void inbox_wake(struct inbox *inbox)
{
    ev_async_send(inbox->loop, &inbox->wake);
}

void inbox_put(struct inbox *inbox, struct task *task)
{
    pthread_mutex_lock(&inbox->lock);
    task_list_put(&inbox->list, task);
    pthread_mutex_unlock(&inbox->lock);
    inbox_wake(inbox);
}

void inbox_stop(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    inbox->stop = true;
    pthread_mutex_unlock(&inbox->lock);
    inbox_wake(inbox);
}

struct task_list inbox_take(struct inbox *inbox, bool *stop)
{
    pthread_mutex_lock(&inbox->lock);
    struct task_list list = inbox->list;
    inbox->list = (struct task_list){0};
    *stop = inbox->stop;
    pthread_mutex_unlock(&inbox->lock);
    return list;
}
