import { readFileSync, watch } from 'node:fs'
import { join } from 'node:path'

/** The values to try, in their order, as a mounted Secret has them. */
export class Secrets {
  #folder
  #list = []

  /** Throws when there is no list to begin with. */
  constructor(folder) {
    this.#folder = folder
    this.refresh()
  }

  /** What was read last. */
  get list() {
    return this.#list
  }

  /** Reads the list anew. What can't be read leaves it as it was. */
  refresh() {
    const list = parse(readFileSync(join(this.#folder, 'client_secrets'), 'utf8'))
    if (JSON.stringify(list) !== JSON.stringify(this.#list)) {
      this.#list = list
      console.log(JSON.stringify({ list: list.length }))
    }
  }

  refreshOrComplain() {
    try {
      this.refresh()
    } catch (error) {
      console.error(`consumer: the list stays as it was: ${error.message}`)
    }
  }

  /**
   * Refreshes the list when the folder changes, until the returned watcher is closed. The folder is
   * watched, not the file: the kubelet replaces the link ..data in it.
   */
  watch() {
    const watcher = watch(this.#folder, () => this.refreshOrComplain())
    watcher.on('error', (error) => console.error(`consumer: no longer watching: ${error.message}`))
    // What changed before it was watched.
    this.refreshOrComplain()
    return watcher
  }
}

/** Says nothing of the text, which has secrets: the message of JSON.parse would quote it. */
function parse(text) {
  let list
  try {
    list = JSON.parse(text)
  } catch {
    // Not a list.
  }
  const isSecret = (value) => typeof value === 'string' && value !== ''
  if (!Array.isArray(list) || list.length === 0 || !list.every(isSecret)) {
    throw new Error('client_secrets is not a JSON list of one or more secrets')
  }
  return list
}
