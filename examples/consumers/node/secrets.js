import { readFileSync, watch } from 'node:fs'
import { join } from 'node:path'

/** The list of client secrets in a mounted Secret, in the order in which to try them. */
export class Secrets {
  #directory
  #list = []

  /**
   * Reads the list for the first time.
   *
   * @param {string} directory where the Secret is mounted
   * @throws {Error} if there is no valid list
   */
  constructor(directory) {
    this.#directory = directory
    this.refresh()
  }

  /** The list that was read last. */
  get list() {
    return this.#list
  }

  /**
   * Reads the list again.
   *
   * @throws {Error} if there is no valid list; the previous list is kept
   */
  refresh() {
    const list = parseList(readFileSync(join(this.#directory, 'client_secrets'), 'utf8'))
    if (JSON.stringify(list) !== JSON.stringify(this.#list)) {
      this.#list = list
      console.log(JSON.stringify({ list: list.length }))
    }
  }

  refreshOrLog() {
    try {
      this.refresh()
    } catch (error) {
      console.error(`consumer: keeping the previous list: ${error.message}`)
    }
  }

  /**
   * Refreshes the list whenever the directory changes, until the returned watcher is closed. Watches
   * the directory, not the file, because the kubelet replaces the symbolic link ..data in it.
   *
   * @returns {import('node:fs').FSWatcher}
   */
  watch() {
    const watcher = watch(this.#directory, () => this.refreshOrLog())
    watcher.on('error', (error) => console.error(`consumer: stopped watching: ${error.message}`))
    // The file may have changed before the watch started.
    this.refreshOrLog()
    return watcher
  }
}

/**
 * Parses a JSON array of secrets. The error omits the text, which may contain secrets. The message of
 * JSON.parse would quote it.
 */
function parseList(text) {
  let list
  try {
    list = JSON.parse(text)
  } catch {
    // Reported below, like any other value that isn't a list.
  }
  if (!Array.isArray(list) || list.length === 0 || !list.every(isNonEmptyString)) {
    throw new Error('client_secrets is not a JSON array of one or more secrets')
  }
  return list
}

function isNonEmptyString(value) {
  return typeof value === 'string' && value !== ''
}
