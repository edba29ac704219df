/**
 * What a shell loads. Each hands the words to `flashpods __complete` and shows what comes back: `value<TAB>description`
 * a line; `:files` and `:directories` alone on a line ask for paths.
 */

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

// bash breaks words at `=` and `:`; they are put together again, and the part that bash counts to an earlier word is
// taken off the answer.
const BASH = String.raw`# bash completion for flashpods; load it with: source <(flashpods completion bash)
_flashpods() {
  local words=() word last='' rest line value i
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=${'$'}{COMP_WORDS[i]}
    if ((${'$'}{#words[@]})) && [[ ${'$'}word == [=:]* || ${'$'}last == *[=:] ]] && [[ ${'$'}COMP_LINE == *"${'$'}last${'$'}word"* ]]; then
      words[${'$'}{#words[@]} - 1]=${'$'}last${'$'}word
    else
      words+=("${'$'}word")
    fi
    last=${'$'}{words[${'$'}{#words[@]} - 1]}
  done
  rest=${'$'}{last##*[=:]}
  COMPREPLY=()
  while IFS= read -r line; do
    case ${'$'}line in
      :files) compopt -o default ;;
      :directories) compopt -o dirnames ;;
      ?*)
        value=${'$'}{line%%${'$'}'\t'*}
        value=${'$'}{value#"${'$'}{last%"${'$'}rest"}"}
        printf -v value %q "${'$'}value"
        COMPREPLY+=("${'$'}value")
        [[ ${'$'}value == *= ]] && compopt -o nospace
        ;;
    esac
  done < <("${'$'}{COMP_WORDS[0]/#\~/${'$'}HOME}" __complete "${'$'}{words[@]}" 2>/dev/null)
}
complete -o nosort -F _flashpods flashpods
`;

const ZSH = String.raw`#compdef flashpods
# zsh completion for flashpods; load it after compinit with: source <(flashpods completion zsh)
_flashpods() {
  local line value
  local -a lines found
  lines=("${'$'}{(@f)${'$'}("${'$'}{(Q)words[1]/#\~/${'$'}HOME}" __complete "${'$'}{(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  for line in "${'$'}{lines[@]}"; do
    case ${'$'}line in
      '') ;;
      :files) compset -P '--*='; _files ;;
      :directories) compset -P '--*='; _files -/ ;;
      *)
        value=${'$'}{line%%${'$'}'\t'*}
        if [[ ${'$'}line == *${'$'}'\t'?* ]]; then
          found+=("${'$'}{value//:/\\:}:${'$'}{line#*${'$'}'\t'}")
        else
          found+=("${'$'}{value//:/\\:}")
        fi
        ;;
    esac
  done
  if ((${'$'}#found)); then _describe -V -t flashpods flashpods found; fi
}
compdef _flashpods flashpods
`;

const FISH = String.raw`# fish completion for flashpods; load it with: flashpods completion fish | source
function __flashpods_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  for line in (eval (string escape -- $words[1] | string replace -r '^\\\\~' '~') __complete (string escape -- $words[2..-1] "$current") 2>/dev/null)
    switch $line
      case ':files'
        __fish_complete_path (string replace -r '^--[^=]*=' '' -- $current)
      case ':directories'
        __fish_complete_directories (string replace -r '^--[^=]*=' '' -- $current)
      case '*'
        echo $line
    end
  end
end
complete -c flashpods -f -k -a '(__flashpods_complete)'
`;

export function completionScript(shell: Shell): string {
  switch (shell) {
    case 'bash':
      return BASH;
    case 'zsh':
      return ZSH;
    case 'fish':
      return FISH;
  }
}
